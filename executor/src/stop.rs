//! When no further request may be sent: the plan's time is over, or its delivery may be another's.
//!
//! Decides nothing about requests under way: each is fenced and has its own time.

use std::sync::{Arc, Weak};

use signalbox_common::bus::heartbeat::Hold;
use tokio_util::sync::CancellationToken;

use crate::error::ActionError;

/// Asked before each request.
#[derive(Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    hold: Option<Weak<Hold>>,
}

impl Stop {
    /// While `hold` is not lost and `token` not cancelled.
    pub(crate) fn of(hold: &Arc<Hold>, token: CancellationToken) -> Self {
        Self {
            token,
            hold: Some(Arc::downgrade(hold)),
        }
    }

    /// An error if no further request may be sent. Also right after the process stood still.
    pub(crate) fn check(&self) -> Result<(), ActionError> {
        let lost = match &self.hold {
            None => false,
            Some(hold) => hold.upgrade().is_none_or(|hold| hold.is_lost()),
        };
        if lost || self.token.is_cancelled() {
            Err(ActionError::stopped())
        } else {
            Ok(())
        }
    }

    /// Returns when no further request may be sent.
    pub(crate) async fn stopped(&self) {
        self.token.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_token_stops() {
        let token = CancellationToken::new();
        let stop = Stop {
            token: token.clone(),
            hold: None,
        };
        assert!(stop.check().is_ok());
        token.cancel();
        assert!(stop.check().is_err());
    }
}
