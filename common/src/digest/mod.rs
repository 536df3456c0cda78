//! Hashes: SHA-256 over bytes and over the canonical form of JSON.
//!
//! The same value always gives the same bytes, whatever the order of a struct's fields is.

mod canonical;

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
    let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap_or_default();
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(digit).collect()
}

/// SHA-256 of the canonical JSON of `value`, in hex; maps are sorted by key.
#[must_use]
pub fn of_json<T: Serialize>(value: &T) -> String {
    sha256_hex(&canonical::bytes(value).unwrap_or_default())
}

/// The first `len` hex characters of [`of_json`].
#[must_use]
pub fn short_of_json<T: Serialize>(value: &T, len: usize) -> String {
    let mut text = of_json(value);
    text.truncate(len);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digests stand in clusters: they are the same in every version.
    #[test]
    fn a_digest_is_that_of_the_sorted_compact_text() {
        let value = serde_json::json!({"b": [1, {"d": null, "c": "\u{e9}"}], "a": 0.5});
        let text = "{\"a\":0.5,\"b\":[1,{\"c\":\"\u{e9}\",\"d\":null}]}";
        assert_eq!(of_json(&value), sha256_hex(text.as_bytes()));
        assert_eq!(
            of_json(&value),
            "2b1e1aae618b0f50f57cab296369d89fb9612d37ffbd5c0576054c7b645af788"
        );
        assert_eq!(short_of_json(&value, 3), of_json(&value)[..3]);
    }

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(hex(&[0, 9, 10, 0xa0, 255]), "00090aa0ff");
    }
}
