//! The wall clock: the one place that reads it.
//!
//! Durations are measured with `Instant`s; this is for what people and other machines read.

use jiff::Timestamp;

/// The time.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::part::now() {
        return now;
    }
    Timestamp::now()
}
