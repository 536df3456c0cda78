//! Backoff: how long to wait after a failure, as a pure function of class and attempt.
//!
//! Never sleeps and never draws randomness itself; jitter comes in as a fraction.

use std::time::Duration;

use crate::class::ErrorClass;

/// Base and cap of a class's backoff.
#[must_use]
pub const fn bounds(class: ErrorClass) -> (Duration, Duration) {
    match class {
        ErrorClass::Conflict => (Duration::from_millis(100), Duration::from_secs(5)),
        ErrorClass::Transient | ErrorClass::Throttled => {
            (Duration::from_millis(500), Duration::from_mins(1))
        }
        ErrorClass::Missing => (Duration::from_secs(1), Duration::from_mins(1)),
        ErrorClass::NameTaken | ErrorClass::Forbidden | ErrorClass::Invalid => {
            (Duration::from_secs(5), Duration::from_mins(5))
        }
        ErrorClass::Ambiguous | ErrorClass::Fatal => {
            (Duration::from_mins(5), Duration::from_mins(5))
        }
    }
}

/// Wait before attempt `attempt + 1`, `attempt` counting failures in a row from 1: the base doubled
/// for each, at most the cap, reduced by up to a fifth by `jitter` (0 ≤ jitter < 1).
#[must_use]
pub fn after(class: ErrorClass, attempt: u32, jitter: f64) -> Duration {
    let (base, cap) = bounds(class);
    let doubled = base.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1).min(20)));
    doubled.min(cap).mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0))
}

/// A jitter fraction made from bytes that are already random, such as a uid: the pure planner's way
/// to spread retries without randomness.
#[must_use]
pub fn jitter_of(seed: &str) -> f64 {
    let hex = crate::digest::sha256_hex(seed.as_bytes());
    let head = hex
        .get(..8)
        .and_then(|h| u32::from_str_radix(h, 16).ok())
        .unwrap_or(0);
    f64::from(head) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap() {
        assert_eq!(
            after(ErrorClass::Transient, 1, 0.0),
            Duration::from_millis(500)
        );
        assert_eq!(after(ErrorClass::Transient, 3, 0.0), Duration::from_secs(2));
        assert_eq!(
            after(ErrorClass::Transient, 4_000_000, 0.0),
            Duration::from_mins(1)
        );
    }

    #[test]
    fn jitter_only_shortens() {
        assert!(after(ErrorClass::Missing, 2, 0.99) < after(ErrorClass::Missing, 2, 0.0));
        assert!((0.0..1.0).contains(&jitter_of("a uid")));
    }
}
