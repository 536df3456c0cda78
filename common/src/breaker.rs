//! Circuit breaker and retry budget before a server that a part depends on.
//!
//! Pure structs whose time is passed in, and [`Guardian`], which shares them between tasks. Decides
//! whether a request may be sent; never sends one, and never judges an answer itself.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// First time for which it stays open; doubled for each failed probe.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// A probe that has not reported for so long is given up.
const PROBE_TIME: Duration = Duration::from_secs(6);
/// Retries that are there from the start, and the most that can be saved.
const BUDGET: f64 = 30.0;
/// The same as a whole number.
pub const RETRIES: u32 = 30;
/// What each request adds to the budget: one retry for five requests.
const DEPOSIT: f64 = 0.2;

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failures in a row after which it opens.
    pub threshold: u32,
    /// Longest time for which it stays open.
    pub open_at_most: Duration,
}

impl Rules {
    /// Before the API server.
    pub const API: Self = Self {
        threshold: 10,
        open_at_most: Duration::from_secs(8),
    };
    /// Before the bus: it also opens when the connection is lost, and closes when there is one.
    pub const BUS: Self = Self {
        threshold: 10,
        open_at_most: Duration::from_secs(1),
    };
    /// Before a database: a try of a file is rare and may hold its place for long.
    pub const DATABASE: Self = Self {
        threshold: 3,
        open_at_most: Duration::from_secs(8),
    };
}

/// Where a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All requests pass.
    Closed,
    /// None passes before the time.
    Open {
        /// When a probe may pass.
        until: Instant,
    },
    /// One probe is under way.
    Probing {
        /// When it was admitted.
        since: Instant,
    },
}

/// A circuit breaker: pure, the time comes in.
#[derive(Clone, Debug)]
pub struct Breaker {
    rules: Rules,
    state: BreakerState,
    failures: u32,
    openings: u32,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: BreakerState::Closed,
            failures: 0,
            openings: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a request may be sent now, else how long to wait.
    pub fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.state {
            BreakerState::Closed => return Ok(()),
            BreakerState::Open { until } if now < until => return Err(until - now),
            BreakerState::Probing { since } if now < since + PROBE_TIME => return Err(OPEN_FOR),
            BreakerState::Open { .. } | BreakerState::Probing { .. } => {}
        }
        self.state = BreakerState::Probing { since: now };
        Ok(())
    }

    /// What came of an admitted request.
    pub fn report(&mut self, now: Instant, healthy: bool) {
        if healthy {
            *self = Self::new(self.rules);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            BreakerState::Closed => self.failures >= self.rules.threshold,
            BreakerState::Probing { .. } => true,
            // A request from before: the breaker is open already.
            BreakerState::Open { .. } => false,
        };
        if opens {
            self.open(now);
        }
    }

    /// The server is known to be away: open at once.
    pub fn open(&mut self, now: Instant) {
        let factor = 2_u32.saturating_pow(self.openings.min(10));
        let wait = OPEN_FOR.saturating_mul(factor).min(self.rules.open_at_most);
        self.openings = self.openings.saturating_add(1);
        self.state = BreakerState::Open { until: now + wait };
    }
}

/// A budget of retries, earned by requests: pure.
#[derive(Clone, Copy, Debug)]
pub struct RetryBudget {
    tokens: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryBudget {
    /// A full one.
    #[must_use]
    pub const fn new() -> Self {
        Self { tokens: BUDGET }
    }

    /// Whole retries that are there.
    #[must_use]
    pub fn left(&self) -> u32 {
        (1..=RETRIES)
            .take_while(|count| self.tokens >= f64::from(*count))
            .last()
            .unwrap_or(0)
    }

    /// A request was sent.
    pub const fn deposit(&mut self) {
        self.tokens = (self.tokens + DEPOSIT).min(BUDGET);
    }

    /// Takes one retry, if there is one.
    pub const fn withdraw(&mut self) -> bool {
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

/// What a breaker and its budget tell of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the breaker is open, or tries with one probe.
    pub open: bool,
    /// Retries that are left.
    pub retries: u32,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let breaker = if self.open { "open" } else { "closed" };
        write!(
            f,
            "breaker {breaker}, {} of {RETRIES} retries left",
            self.retries
        )
    }
}

/// Breaker and budget, shared by tasks.
#[derive(Debug)]
pub struct Guardian(Mutex<(Breaker, RetryBudget)>);

impl Guardian {
    /// Closed and full.
    #[must_use]
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self(Mutex::new((Breaker::new(rules), RetryBudget::new()))))
    }

    fn lock(&self) -> MutexGuard<'_, (Breaker, RetryBudget)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a request, whose answer is to be reported; else how long to wait.
    pub fn admit(self: &Arc<Self>, now: Instant) -> Result<Ticket, Duration> {
        let mut both = self.lock();
        both.0.admit(now)?;
        both.1.deposit();
        Ok(Ticket(Arc::clone(self)))
    }

    /// Takes one retry, if there is one.
    pub fn may_retry(&self) -> bool {
        self.lock().1.withdraw()
    }

    /// The server is known to be away, or back.
    pub fn reached(&self, now: Instant, reached: bool) {
        let mut both = self.lock();
        if reached {
            both.0.report(now, true);
        } else {
            both.0.open(now);
        }
    }

    /// What they tell of themselves.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let both = self.lock();
        Standing {
            open: both.0.state() != BreakerState::Closed,
            retries: both.1.left(),
        }
    }
}

/// An admitted request.
#[derive(Debug)]
pub struct Ticket(Arc<Guardian>);

impl Ticket {
    /// What came of it: whether the server is healthy.
    pub fn report(self, now: Instant, healthy: bool) {
        self.0.lock().0.report(now, healthy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(Rules::API);
        for _ in 0..Rules::API.threshold {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.report(now, false);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Rules::API);
        for _ in 0..Rules::API.threshold * 3 {
            breaker.report(now, false);
            breaker.report(now, true);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(opened(now).admit(now), Err(OPEN_FOR));
    }

    #[test]
    fn one_probe_decides() {
        let now = Instant::now();
        let later = now + OPEN_FOR;
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(later), Ok(()));
        assert!(breaker.admit(later).is_err(), "only one probe at a time");
        breaker.report(later, false);
        assert_eq!(
            breaker.admit(later),
            Err(OPEN_FOR * 2),
            "a failed probe doubles the wait"
        );
        assert_eq!(breaker.admit(later + OPEN_FOR * 2), Ok(()));
        breaker.report(later + OPEN_FOR * 2, true);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_never_reports_is_given_up() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert_eq!(breaker.admit(now + OPEN_FOR), Ok(()));
        assert_eq!(breaker.admit(now + OPEN_FOR + PROBE_TIME), Ok(()));
    }

    #[test]
    fn retries_are_earned_by_requests() {
        let mut budget = RetryBudget::new();
        let mut taken = 0;
        while budget.withdraw() {
            taken += 1;
        }
        assert_eq!(taken, 30);
        for _ in 0..6 {
            budget.deposit();
        }
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }

    #[test]
    fn a_server_that_is_known_to_be_away_is_left_alone_until_it_is_back() {
        let (guardian, now) = (Guardian::new(Rules::BUS), Instant::now());
        assert!(guardian.may_retry());
        guardian.reached(now, false);
        let standing = guardian.standing();
        assert_eq!(standing.to_string(), "breaker open, 29 of 30 retries left");
        assert!(guardian.admit(now).is_err());
        guardian.reached(now, true);
        assert!(!guardian.standing().open && guardian.admit(now).is_ok());
    }
}
