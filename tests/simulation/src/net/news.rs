//! What lies between a part and the news that it waits for: watches, and messages that are fetched.
//!
//! Decides whether they come, when, and in which order.

use std::time::Duration;

use signalbox_common::part::Part;
use tokio::time::Instant;

use super::{Net, Side, UNREACHABLE};

/// What becomes of a watch.
#[derive(Clone, Copy, Debug)]
pub enum WatchFault {
    /// It ends.
    Cut,
    /// Its version is gone: 410.
    Gone,
    /// It is silent until then.
    Hold(Instant),
}

impl Net {
    /// What becomes of a watch now.
    #[must_use]
    pub fn watch_fault(&self, part: &Part, kind: &str) -> Option<WatchFault> {
        if self.is_cut(part, Side::Api) {
            return Some(WatchFault::Hold(Instant::now() + UNREACHABLE));
        }
        let mut state = self.lock();
        let silent = state.silent.get(kind).copied();
        if let Some(until) = silent.filter(|until| *until > Instant::now()) {
            return Some(WatchFault::Hold(until));
        }
        let rate = state.rates.watch;
        if rate == 0 || !state.random.in_thousand(rate) {
            return None;
        }
        Some(match state.random.below(4) {
            0 => WatchFault::Cut,
            1 => WatchFault::Gone,
            _ => WatchFault::Hold(
                Instant::now() + Duration::from_millis(state.random.between(100, 4000)),
            ),
        })
    }

    /// How far a watch is behind.
    #[must_use]
    pub fn watch_delay(&self) -> Duration {
        self.lock().delay()
    }

    /// Whether what was fetched is lost, and whether its order changes.
    #[must_use]
    pub fn fetch_fault(&self) -> (bool, bool) {
        let mut state = self.lock();
        let (lost, reorder) = (state.rates.fetch, state.rates.reorder);
        (
            lost > 0 && state.random.in_thousand(lost),
            reorder > 0 && state.random.in_thousand(reorder),
        )
    }
}
