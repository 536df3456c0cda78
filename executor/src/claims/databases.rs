//! Breakers before database servers, one for each, so that files wait instead of claiming in vain.
//!
//! Decides whether a file of a server may be claimed; never connects. A file that waits is planned again later, so
//! there is no budget of retries here: each attempt is planned.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use signalbox_common::breaker::{Breaker, BreakerState, Rules};
use signalbox_common::class::ErrorClass;
use tokio::time::Instant;

use crate::error::ActionError;

/// Servers that failed last and are remembered; above that the oldest names are forgotten first.
const MOST: usize = 256;

/// The servers whose last connection failed, by address. Others have no breaker.
#[derive(Debug, Default)]
pub(crate) struct Databases(Mutex<BTreeMap<String, Breaker>>);

impl Databases {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Breaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file of this server may be claimed now.
    pub(super) fn admit(&self, address: &str) -> Result<(), ActionError> {
        let mut servers = self.lock();
        let Some(breaker) = servers.get_mut(address) else {
            return Ok(());
        };
        breaker.admit(Instant::now()).map_err(|wait| ActionError {
            retry_after: Some(wait),
            ..ActionError::new(
                ErrorClass::Throttled,
                "the database could not be reached too often, waiting",
            )
        })
    }

    /// Whether the server was reached.
    pub(super) fn report(&self, address: &str, reached: bool) {
        let mut servers = self.lock();
        if reached {
            servers.remove(address);
            return;
        }
        if servers.len() >= MOST && !servers.contains_key(address) {
            servers.pop_first();
        }
        let breaker = servers.entry(address.to_owned());
        let breaker = breaker.or_insert_with(|| Breaker::new(Rules::DATABASE));
        breaker.report(Instant::now(), false);
    }

    /// How many breakers are not closed.
    pub(crate) fn open(&self) -> usize {
        let servers = self.lock();
        let open = |breaker: &&Breaker| breaker.state() != BreakerState::Closed;
        servers.values().filter(open).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_servers_breaker_holds_up_nobody_elses_files() {
        let databases = Databases::default();
        for _ in 0..Rules::DATABASE.threshold {
            assert!(databases.admit("a").is_ok());
            databases.report("a", false);
        }
        let refused = databases.admit("a").unwrap_err();
        assert_eq!(refused.class, ErrorClass::Throttled);
        assert!(refused.retry_after.is_some() && databases.open() == 1);
        assert!(databases.admit("b").is_ok());
        databases.report("a", true);
        assert!(databases.admit("a").is_ok() && databases.open() == 0);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let databases = Databases::default();
        for number in 0..MOST * 2 {
            databases.report(&format!("{number:04}"), false);
        }
        assert_eq!(databases.lock().len(), MOST);
    }
}
