//! Objects that the API server said to leave alone for a while.
//!
//! Decides when the next request for an object may be sent. The wait in an Outcome binds the action that
//! failed; another one of the same plan or of the next may ask for the same object, and would come early.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// As many objects as are remembered; above that only the Outcome makes them wait.
const MOST: usize = 4_096;

/// Objects by path, each with the time from which on it may be asked for. The time comes in.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<HashMap<String, Instant>>);

impl Waits {
    /// The server asked for a wait.
    pub(super) fn note(&self, path: String, until: Instant, now: Instant) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waits.retain(|_, until| *until > now);
        if waits.len() < MOST {
            waits.insert(path, until);
        }
    }

    /// What is left of the wait; none: a request may be sent.
    pub(super) fn left(&self, path: &str, now: Instant) -> Option<Duration> {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = waits.get(path)?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_waits_and_others_do_not() {
        let (waits, now) = (Waits::default(), Instant::now());
        let second = Duration::from_secs(1);
        waits.note("a".to_owned(), now + 2 * second, now);
        assert_eq!(waits.left("a", now + second), Some(second));
        assert_eq!(waits.left("b", now), None);
        assert_eq!(waits.left("a", now + 2 * second), None);
    }

    #[test]
    fn what_is_over_makes_room() {
        let (waits, now) = (Waits::default(), Instant::now());
        let second = Duration::from_secs(1);
        for number in 0..=MOST {
            waits.note(number.to_string(), now + second, now);
        }
        assert_eq!(waits.left(&MOST.to_string(), now), None, "full");
        waits.note("next".to_owned(), now + 3 * second, now + 2 * second);
        assert!(waits.left("next", now + 2 * second).is_some());
    }
}
