//! Pacing of one object: how far apart its flights are, and how long its changes are held in a storm.
//!
//! Decides times only; whether there is a storm is decided by the queue. docs/adr/0005 tells the reasons.

use std::time::Duration;

use super::At;

/// Least time between two flights.
pub(super) const GAP: Duration = Duration::from_millis(100);
/// Most time that a changing object's flights are kept apart.
const GAP_MAX: Duration = Duration::from_secs(1);
/// Least and most time that a change is held back in a storm.
const HOLD: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// What is held when nothing is known about the object's changes.
const HOLD_UNKNOWN: Duration = Duration::from_secs(1);
/// In a storm, a change is never held longer than this after the first unsent one.
const HOLD_END: Duration = Duration::from_mins(1);
/// Changes that follow each other faster than this make a flurry, storm or not.
const FLURRY: Duration = Duration::from_millis(500);
/// So many of them in a row: a release of an app and its migration is a few quick changes, and no flurry.
const FLURRY_CHANGES: u32 = 5;
/// A flurry is over after this many mean intervals without a change: they are not regular, and two of them
/// pass without one every second.
const FLURRY_OVER: u32 = 8;
/// A flurry is not over before this long without a change.
const FLURRY_LEAST: Duration = Duration::from_millis(250);
/// In a flurry, a change is never held longer than this after the first unsent one.
const FLURRY_END: Duration = Duration::from_secs(5);
/// After this long without a change, an object is quiet and its past counts no more.
const QUIET: Duration = Duration::from_secs(20);

/// Times of one object.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last_sent: Option<At>,
    gap: Duration,
    last_change: Option<At>,
    mean: Option<Duration>,
    /// Changes in a row that came fast.
    fast: u32,
}

impl Pace {
    /// The spec changed.
    pub(super) fn changed(&mut self, now: At) {
        if let Some(last) = self.last_change {
            let interval = now.saturating_sub(last);
            self.fast = if interval < FLURRY { self.fast + 1 } else { 0 };
            self.mean = match self.mean {
                _ if interval > QUIET => None,
                Some(mean) => Some((mean * 3 + interval) / 4),
                None => Some(interval),
            };
        }
        self.last_change = Some(now);
    }

    /// A flight begins; `changing`: for a change, not for a result or a timer.
    pub(super) fn sent(&mut self, now: At, changing: bool) {
        let soon = self
            .last_sent
            .is_some_and(|last| now.saturating_sub(last) < self.gap * 2);
        self.gap = if changing && soon {
            (self.gap * 2).min(GAP_MAX)
        } else {
            GAP
        };
        self.last_sent = Some(now);
    }

    /// The earliest time of the next flight.
    pub(super) fn earliest(&self) -> At {
        self.last_sent
            .map_or(Duration::ZERO, |last| last + self.gap)
    }

    /// Until when the changes of an object in a flurry are held, of which the first is unsent since `first`.
    pub(super) fn flurry_until(&self, first: At) -> At {
        match (self.last_change, self.mean) {
            (Some(last), Some(mean)) if self.fast >= FLURRY_CHANGES => {
                (last + (mean * FLURRY_OVER).max(FLURRY_LEAST)).min(first + FLURRY_END)
            }
            _ => Duration::ZERO,
        }
    }

    /// Until when changes are held in a storm, of which the first is unsent since `first`.
    pub(super) fn hold_until(&self, first: At) -> At {
        let Some(last) = self.last_change else {
            return Duration::ZERO;
        };
        let hold = match self.mean {
            Some(mean) => (mean * 2).clamp(HOLD.0, HOLD.1),
            // Never planned: it is new, and nothing speaks for more changes.
            None if self.last_sent.is_none() => Duration::ZERO,
            None => HOLD_UNKNOWN,
        };
        (last + hold).min(first + HOLD_END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> At {
        Duration::from_millis(ms)
    }

    #[test]
    fn flights_of_a_changing_object_move_apart() {
        let mut pace = Pace::default();
        let mut now = ms(5_000);
        let mut gaps = Vec::new();
        for _ in 0..6 {
            pace.sent(now, true);
            gaps.push(pace.earliest().saturating_sub(now));
            now = pace.earliest();
        }
        assert_eq!(
            gaps,
            [ms(100), ms(200), ms(400), ms(800), ms(1_000), ms(1_000)]
        );
        pace.sent(now + ms(10_000), true);
        assert_eq!(pace.earliest(), now + ms(10_100));
    }

    #[test]
    fn a_change_is_held_for_twice_the_mean_but_not_for_ever() {
        let mut pace = Pace::default();
        pace.sent(ms(0), true);
        pace.changed(ms(1_000));
        assert_eq!(pace.hold_until(ms(1_000)), ms(2_000));
        pace.changed(ms(1_500));
        assert_eq!(pace.hold_until(ms(1_000)), ms(2_500));
        for step in 4..100 {
            pace.changed(ms(step * 500));
        }
        assert_eq!(pace.hold_until(ms(1_000)), ms(50_500), "still changing");
        for step in 100..200 {
            pace.changed(ms(step * 500));
        }
        assert_eq!(
            pace.hold_until(ms(1_000)),
            ms(61_000),
            "a minute after the first unsent change"
        );
    }

    /// A slow machine's storm has rounds of three seconds: a hold of twice that still leaves room for a late one.
    #[test]
    fn rare_changes_are_held_in_a_storm_as_well() {
        let mut pace = Pace::default();
        pace.sent(ms(0), true);
        for step in 1..10 {
            pace.changed(ms(step * 3_000));
        }
        assert_eq!(pace.hold_until(ms(3_000)), ms(27_000 + 6_000));
        for step in 1..10 {
            pace.changed(ms(27_000 + step * 15_000));
        }
        let end = ms(3_000 + 60_000);
        assert_eq!(
            pace.hold_until(ms(3_000)),
            end,
            "a minute after the first unsent"
        );
        pace.sent(ms(162_000), true);
        pace.changed(ms(177_000));
        assert_eq!(
            pace.hold_until(ms(177_000)),
            ms(187_000),
            "ten seconds at most"
        );
    }

    #[test]
    fn a_flurry_waits_for_its_end_and_five_seconds_at_most() {
        let mut pace = Pace::default();
        pace.sent(ms(0), true);
        pace.changed(ms(1_000));
        assert_eq!(
            pace.flurry_until(ms(1_000)),
            ms(0),
            "one change is no flurry"
        );
        for step in 1..5 {
            pace.changed(ms(1_000 + step * 50));
        }
        assert_eq!(pace.flurry_until(ms(1_000)), ms(0), "five are none");
        pace.changed(ms(1_250));
        assert_eq!(pace.flurry_until(ms(1_000)), ms(1_650));
        for step in 0..200 {
            pace.changed(ms(1_300 + step * 50));
        }
        assert_eq!(
            pace.flurry_until(ms(1_000)),
            ms(6_000),
            "since the first unsent"
        );
        pace.sent(ms(6_000), true);
        pace.changed(ms(30_000));
        pace.changed(ms(31_000));
        assert_eq!(
            pace.flurry_until(ms(30_000)),
            ms(0),
            "a person's edits are no flurry"
        );
    }

    #[test]
    fn a_new_object_is_not_held() {
        let mut pace = Pace::default();
        pace.changed(ms(7));
        assert_eq!(pace.hold_until(ms(7)), ms(7));
    }
}
