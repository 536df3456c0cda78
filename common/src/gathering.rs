//! When a part gathers: it sleeps a moment without listening, and does what has come meanwhile in one go.
//!
//! Decides that from how long the part's thread ran and how long it waited for a core. A part that waits for cores has
//! others beside it that want them: there each wake-up costs those others time, the API server above all, and the part
//! does as much in fewer of them. Where cores are free, or little is to be done, it listens at once. Pure: never reads
//! a clock, never sleeps.

use std::time::{Duration, Instant};

/// How long a part that gathers does not listen.
const PAUSE: Duration = Duration::from_millis(20);
/// Cores must have been busy for this long: what is over sooner is done sooner by whoever listens at once.
const LASTS: Duration = Duration::from_millis(500);
/// The shares are looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What was seen this long ago counts for a third.
const MEMORY: Duration = Duration::from_millis(100);
/// Share of the time that a part waits for a core where cores are busy: in a storm 0.07 to 0.25. One change at a
/// time, on idle cores: 0.01.
const WAITS: f64 = 0.04;
/// The same once it is busy: a part that gathers has fewer turns to wait for.
const WAITS_STILL: f64 = 0.02;
/// Share of the time that a part runs which has many things to do: in a storm 0.04 and more. Eight changes a second,
/// one after the other: 0.01.
const RUNS: f64 = 0.02;

/// How long a thread has run, and has waited for a core though it could have run, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    pub(crate) ran: Duration,
    pub(crate) waited: Duration,
}

/// What is known of a part's thread.
#[derive(Debug)]
pub(crate) struct Gathering {
    looked: Instant,
    turns: Turns,
    /// Shares of the time, of which the last [`MEMORY`] counts most.
    runs: f64,
    waits: f64,
    /// Since when it has much to do and must wait for cores.
    busy: Option<Instant>,
}

impl Gathering {
    /// Of a thread that has had these turns until `now`.
    pub(crate) const fn new(now: Instant, turns: Turns) -> Self {
        Self {
            looked: now,
            turns,
            runs: 0.0,
            waits: 0.0,
            busy: None,
        }
    }

    /// The part has nothing left to do: how long it does not listen for more. `turns` reads what its thread has had.
    pub(crate) fn pause(
        &mut self,
        now: Instant,
        turns: impl FnOnce() -> Option<Turns>,
    ) -> Duration {
        let passed = now.saturating_duration_since(self.looked);
        if passed >= LOOK_EVERY {
            match turns() {
                Some(turns) => self.look(now, passed, turns),
                None => return Duration::ZERO,
            }
        }
        let lasts = |since| now.saturating_duration_since(since) >= LASTS;
        if self.busy.is_some_and(lasts) {
            PAUSE
        } else {
            Duration::ZERO
        }
    }

    fn look(&mut self, now: Instant, passed: Duration, turns: Turns) {
        let weight = passed.as_secs_f64() / (passed + MEMORY).as_secs_f64();
        let follow = |known: &mut f64, before: Duration, after: Duration| {
            let share = after.saturating_sub(before).as_secs_f64() / passed.as_secs_f64();
            *known += (share - *known) * weight;
        };
        follow(&mut self.runs, self.turns.ran, turns.ran);
        follow(&mut self.waits, self.turns.waited, turns.waited);
        (self.looked, self.turns) = (now, turns);
        let enough = if self.busy.is_some() {
            WAITS_STILL
        } else {
            WAITS
        };
        let is_busy = self.runs >= RUNS && self.waits >= enough;
        self.busy = is_busy.then(|| self.busy.unwrap_or(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A thread that is asked every `each` for `long`, and has these shares of the time meanwhile.
    struct Thread {
        now: Instant,
        turns: Turns,
        gathering: Gathering,
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Gathers {
        Never,
        Sometimes,
        Always,
    }

    impl Thread {
        fn new() -> Self {
            let now = Instant::now();
            let turns = Turns {
                ran: 5 * MS,
                waited: 3 * MS,
            };
            Self {
                now,
                turns,
                gathering: Gathering::new(now, turns),
            }
        }

        fn live(&mut self, long: Duration, each: Duration, runs: f64, waits: f64) -> Gathers {
            let (end, mut gathers, mut looks) = (self.now + long, 0, 0);
            while self.now < end {
                self.now += each;
                self.turns.ran += each.mul_f64(runs);
                self.turns.waited += each.mul_f64(waits);
                let turns = self.turns;
                let pause = self.gathering.pause(self.now, || Some(turns));
                assert!([Duration::ZERO, PAUSE].contains(&pause), "{pause:?}");
                looks += 1;
                gathers += i32::from(!pause.is_zero());
                self.now += pause;
            }
            match looks - gathers {
                0 => Gathers::Always,
                rest if rest == looks => Gathers::Never,
                _ => Gathers::Sometimes,
            }
        }
    }

    #[test]
    fn a_part_gathers_in_a_storm_that_lasts_and_no_longer_when_cores_are_free() {
        let mut thread = Thread::new();
        assert_eq!(thread.live(SECOND, 3 * MS, 0.01, 0.005), Gathers::Never);
        assert_eq!(
            thread.live(450 * MS, 3 * MS, 0.06, 0.2),
            Gathers::Never,
            "it may be over soon"
        );
        thread.live(200 * MS, 3 * MS, 0.06, 0.2);
        // It has fewer turns to wait for now, and is away half of the time.
        assert_eq!(thread.live(2 * SECOND, 20 * MS, 0.1, 0.07), Gathers::Always);
        thread.live(300 * MS, 3 * MS, 0.01, 0.001);
        assert_eq!(thread.live(SECOND, 3 * MS, 0.01, 0.001), Gathers::Never);
    }

    #[test]
    fn a_part_listens_at_once_where_cores_are_free_or_little_is_to_be_done() {
        assert_eq!(
            Thread::new().live(2 * SECOND, MS, 0.9, 0.01),
            Gathers::Never,
            "cores are free"
        );
        assert_eq!(
            Thread::new().live(2 * SECOND, MS, 0.01, 0.5),
            Gathers::Never,
            "little to do"
        );
    }

    #[test]
    fn changes_one_after_the_other_are_no_storm() {
        let mut thread = Thread::new();
        thread.now += 60 * SECOND;
        for _ in 0..40 {
            // A change of 15 ms, in which a part waits for others of its chain.
            assert_eq!(thread.live(15 * MS, 2 * MS, 0.07, 0.08), Gathers::Never);
            assert_eq!(thread.live(60 * MS, 60 * MS, 0.0, 0.0), Gathers::Never);
        }
    }

    #[test]
    fn what_the_kernel_does_not_tell_changes_nothing() {
        let mut thread = Thread::new();
        let later = thread.now + SECOND;
        assert_eq!(thread.gathering.pause(later, || None), Duration::ZERO);
    }
}
