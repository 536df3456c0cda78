//! Hashes: SHA-256 over bytes and over the canonical form of JSON.
//!
//! `serde_json`'s maps are sorted, so the same value always gives the same bytes.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// SHA-256 of `bytes`, in lower-case hex (64 characters).
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// `bytes` in lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// SHA-256 of the canonical JSON of `value`, in hex; maps are sorted by key.
#[must_use]
pub fn of_json<T: Serialize>(value: &T) -> String {
    // Through `Value`, whose maps are sorted whatever the order of a struct's fields is.
    let bytes = serde_json::to_value(value)
        .map(|v| v.to_string())
        .unwrap_or_default();
    sha256_hex(bytes.as_bytes())
}

/// The first `len` hex characters of [`of_json`].
#[must_use]
pub fn short_of_json<T: Serialize>(value: &T, len: usize) -> String {
    let mut text = of_json(value);
    text.truncate(len);
    text
}
