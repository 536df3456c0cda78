//! Circuit breaker and retry budget before the API server.
//!
//! Pure structs whose time is passed in, and [`Guardian`], which shares them between tasks. Decides
//! whether a request may be sent; never sends one, and never judges an answer itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which the breaker opens.
const THRESHOLD: u32 = 10;
/// First time for which it stays open; doubled for each failed probe.
const OPEN_FOR: Duration = Duration::from_millis(500);
/// Longest time for which it stays open.
const OPEN_AT_MOST: Duration = Duration::from_secs(8);
/// A probe that has not reported for so long is given up.
const PROBE_TIME: Duration = Duration::from_secs(6);
/// Retries that are there from the start, and the most that can be saved.
const BUDGET: f64 = 30.0;
/// What each request adds to the budget: one retry for five requests.
const DEPOSIT: f64 = 0.2;

/// Where a breaker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakerState {
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
pub(crate) struct Breaker {
    state: BreakerState,
    failures: u32,
    openings: u32,
}

impl Breaker {
    /// A closed one.
    pub(crate) const fn new() -> Self {
        Self {
            state: BreakerState::Closed,
            failures: 0,
            openings: 0,
        }
    }

    /// Where it is.
    pub(crate) const fn state(&self) -> BreakerState {
        self.state
    }

    /// Whether a request may be sent now, else how long to wait.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
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
    pub(crate) fn report(&mut self, now: Instant, healthy: bool) {
        if healthy {
            *self = Self::new();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let opens = match self.state {
            BreakerState::Closed => self.failures >= THRESHOLD,
            BreakerState::Probing { .. } => true,
            // A request from before: the breaker is open already.
            BreakerState::Open { .. } => false,
        };
        if opens {
            let factor = 2_u32.saturating_pow(self.openings.min(10));
            let wait = OPEN_FOR.saturating_mul(factor).min(OPEN_AT_MOST);
            self.openings = self.openings.saturating_add(1);
            self.state = BreakerState::Open { until: now + wait };
        }
    }
}

/// A budget of retries, earned by requests: pure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RetryBudget {
    tokens: f64,
}

impl RetryBudget {
    /// A full one.
    pub(crate) const fn new() -> Self {
        Self { tokens: BUDGET }
    }

    /// A request was sent.
    pub(crate) const fn deposit(&mut self) {
        self.tokens = (self.tokens + DEPOSIT).min(BUDGET);
    }

    /// Takes one retry, if there is one.
    pub(crate) const fn withdraw(&mut self) -> bool {
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

/// Breaker and budget, shared by tasks.
#[derive(Debug)]
pub(crate) struct Guardian(Mutex<(Breaker, RetryBudget)>);

impl Guardian {
    /// Closed and full.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Breaker::new(), RetryBudget::new()))))
    }

    fn lock(&self) -> MutexGuard<'_, (Breaker, RetryBudget)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a request, whose answer is to be reported; else how long to wait.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Result<Ticket, Duration> {
        let mut both = self.lock();
        both.0.admit(now)?;
        both.1.deposit();
        Ok(Ticket(Arc::clone(self)))
    }

    /// Takes one retry, if there is one.
    pub(crate) fn may_retry(&self) -> bool {
        self.lock().1.withdraw()
    }

    /// Whether requests pass.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().0.state() == BreakerState::Closed
    }
}

/// An admitted request.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Guardian>);

impl Ticket {
    /// What came of it: whether the server is healthy.
    pub(crate) fn report(self, now: Instant, healthy: bool) {
        self.0.lock().0.report(now, healthy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new();
        for _ in 0..THRESHOLD {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.report(now, false);
        }
        breaker
    }

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..THRESHOLD * 3 {
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
}
