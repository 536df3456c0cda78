//! The wall clock: the one place that reads it.
//!
//! Durations are measured with `Instant`s; this is for what people and other machines read.

use jiff::Timestamp;

/// The time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
