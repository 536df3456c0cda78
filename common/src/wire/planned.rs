//! A flight's Event and Plan as one entry of the ledger: half the messages, and neither is there without the other.
//!
//! Decides how two bodies become one and two again, byte for byte; never what stands in them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::MAX_MESSAGE_BYTES;

/// The type of the entry.
pub const PLANNED: &str = "planned";

#[derive(Deserialize)]
struct Both<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    plan: &'a RawValue,
}

/// `{"event":…,"plan":…}`, each with its own schema; none if that is larger than a message may be. Both are JSON.
#[must_use]
pub fn join(event: &[u8], plan: &[u8]) -> Option<Vec<u8>> {
    let both = [b"{\"event\":", event, b",\"plan\":", plan, b"}"].concat();
    (both.len() <= MAX_MESSAGE_BYTES).then_some(both)
}

/// The bodies of Event and Plan; none if this is no such entry.
#[must_use]
pub fn split(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let both: Both<'_> = serde_json::from_slice(body).ok()?;
    Some((both.event.get().as_bytes(), both.plan.get().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_comes_apart_as_it_was() {
        let (event, plan) = (br#"{"a": [1, "}"]}"#, br#"{"b":null}"#);
        let both = join(event, plan).unwrap();
        assert_eq!(split(&both), Some((&event[..], &plan[..])));
    }

    #[test]
    fn two_that_are_too_large_together_stay_two() {
        let large = format!("\"{}\"", "x".repeat(MAX_MESSAGE_BYTES / 2));
        assert_eq!(join(large.as_bytes(), large.as_bytes()), None);
        assert!(join(large.as_bytes(), b"{}").is_some());
    }

    #[test]
    fn another_entry_is_no_such_entry() {
        for body in [&b""[..], b"{}", br#"{"event":{}}"#, b"no json"] {
            assert_eq!(split(body), None);
        }
    }
}
