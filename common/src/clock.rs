//! The wall clock: the one place that reads it.
//!
//! Durations are measured with `Instant`s; this is for what people and other machines read, and for times that
//! are stored to be compared later. So it goes as the monotonic clock goes: a wall clock that is set while the
//! process runs ends no deadline early and none late. What it was set by is caught up with slowly.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// The wall clock is followed as long as it is no further away than this: it is being kept, not set.
const NEAR: SignedDuration = SignedDuration::from_secs(1);
/// Of the time that has passed, the share by which a clock that was set is approached.
const CATCH_UP: i32 = 20;

static STEADY: Mutex<Option<Steady>> = Mutex::new(None);

/// The time.
#[must_use]
pub fn now() -> Timestamp {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::part::now() {
        return now;
    }
    both().0
}

/// The time by which a message of somebody else is judged: where the wall clock was set, the one of the two that
/// finds it younger.
#[must_use]
pub fn earliest() -> Timestamp {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::part::now() {
        return now;
    }
    let (steady, wall) = both();
    steady.min(wall)
}

/// The time that a message is signed with: where the wall clock was set, the one of the two that its readers find
/// younger.
#[must_use]
pub fn latest() -> Timestamp {
    #[cfg(feature = "simulation")]
    if let Some(now) = crate::part::now() {
        return now;
    }
    let (steady, wall) = both();
    steady.max(wall)
}

/// The steady time and what the wall clock says.
fn both() -> (Timestamp, Timestamp) {
    let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
    let (wall, at) = (Timestamp::now(), Instant::now());
    let begun = steady.get_or_insert(Steady { told: wall, at });
    (begun.read(wall, at), wall)
}

/// A clock that never jumps.
#[derive(Debug)]
struct Steady {
    /// What it said last.
    told: Timestamp,
    /// When it said so.
    at: Instant,
}

impl Steady {
    /// The time, while the wall clock says `wall`. Never before a time that it told.
    fn read(&mut self, wall: Timestamp, at: Instant) -> Timestamp {
        let passed = at.saturating_duration_since(self.at);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let expected = self.told.checked_add(passed).unwrap_or(wall);
        let away = wall.duration_since(expected);
        let step = if away.abs() <= NEAR {
            away
        } else {
            let most = passed / CATCH_UP;
            away.clamp(-most, most)
        };
        let time = expected.checked_add(step).unwrap_or(wall);
        self.told = time.max(self.told);
        self.at = at;
        self.told
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seconds(steady: &Steady, from: Timestamp) -> f64 {
        steady.told.duration_since(from).as_secs_f64()
    }

    /// A regression test: a wall clock that was set forward ended every deadline of a rollout at once, one that
    /// was set back made them last an hour longer.
    #[test]
    fn a_clock_that_is_set_ends_no_deadline_early_and_none_late() {
        let (start, begun) = (Timestamp::UNIX_EPOCH, Instant::now());
        for jump in [-3_600, -600, 600, 3_600] {
            let mut steady = Steady {
                told: start,
                at: begun,
            };
            let set = start + SignedDuration::from_secs(jump);
            for tenth in 1..=6_000 {
                let lived = Duration::from_millis(100 * tenth);
                let wall = set + SignedDuration::try_from(lived).unwrap();
                let before = steady.told;
                assert!(steady.read(wall, begun + lived) >= before, "back");
            }
            let told = seconds(&steady, start);
            assert!((570.0..=630.0).contains(&told), "{jump}: {told}");
            // Set right again, it is followed at once or nearly so.
            let lived = Duration::from_secs(1_300);
            let wall = start + SignedDuration::try_from(lived).unwrap();
            steady.read(wall, begun + lived);
            let told = seconds(&steady, start);
            assert!((1_299.0..=1_301.0).contains(&told), "{jump}: {told}");
        }
    }

    #[test]
    fn a_clock_that_is_kept_is_followed() {
        let (start, begun) = (Timestamp::UNIX_EPOCH, Instant::now());
        let mut steady = Steady {
            told: start,
            at: begun,
        };
        let wall = start + SignedDuration::from_millis(10_400);
        assert_eq!(steady.read(wall, begun + Duration::from_secs(10)), wall);
        // A little back: it stands still instead.
        let back = start + SignedDuration::from_millis(10_200);
        assert_eq!(steady.read(back, begun + Duration::from_secs(10)), wall);
    }
}
