//! Signatures as a part makes them, for suites that speak on the bus in its place.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use jiff::Timestamp;
use nkeys::KeyPair;
use signalbox_common::bus::signature::{SIGNATURE, sign};

use crate::parts::Part;
use crate::world::World;

/// The key that a part of the world signs with.
///
/// # Panics
/// If it can't be read.
#[must_use]
pub fn key(world: &World, part: Part) -> KeyPair {
    let seed = std::fs::read_to_string(world.signing_key(part)).expect("every part signs");
    KeyPair::from_seed(seed.trim()).expect("a seed")
}

/// Headers with an id, the time and the signature over both, subject and body.
///
/// # Panics
/// If the key can't sign.
#[must_use]
pub fn headers(key: &KeyPair, id: &str, subject: &str, body: &[u8]) -> HeaderMap {
    let mut headers = BTreeMap::from([
        ("ce-id".to_owned(), id.to_owned()),
        ("ce-time".to_owned(), Timestamp::now().to_string()),
    ]);
    let signature = sign(key, subject, &headers, body).expect("a key that signs");
    headers.insert(SIGNATURE.to_owned(), signature);
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name, value);
    }
    map
}
