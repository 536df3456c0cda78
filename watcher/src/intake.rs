//! Taking TRIGGERS while this watcher is active, and keeping them until they are answered.
//!
//! Decides nothing about a trigger; one that is not answered in time comes again to whoever leads then.

use std::time::Duration;

use signalbox_common::bus::heartbeat::{self, Hold};
use signalbox_common::bus::{Delivery, SharedBus};
use signalbox_common::subject::Stream;
use tokio::sync::{mpsc, watch};

/// Most triggers taken at once.
const MAX: usize = 16;
/// How long one fetch waits.
const FETCH: Duration = Duration::from_secs(2);
/// Wait after a failed fetch.
const AGAIN: Duration = Duration::from_millis(500);

/// A trigger that is being worked on.
pub(crate) struct Taken {
    pub(crate) delivery: Delivery,
    /// Extends the delivery until it is dropped.
    pub(crate) hold: Hold,
}

/// Takes triggers while `active`; ends when nobody listens.
pub(crate) async fn take(
    bus: SharedBus,
    mut active: watch::Receiver<bool>,
    tell: mpsc::Sender<Taken>,
) {
    loop {
        if !*active.borrow_and_update() {
            if active.changed().await.is_err() {
                return;
            }
            continue;
        }
        let fetched = tokio::select! {
            biased;
            fetched = bus.fetch(Stream::Triggers, MAX, FETCH) => fetched,
            changed = active.changed() => match changed {
                Ok(()) => continue,
                Err(_closed) => return,
            },
        };
        match fetched {
            Ok(deliveries) => {
                for delivery in deliveries {
                    let hold = heartbeat::hold(delivery.acker.clone());
                    if tell.send(Taken { delivery, hold }).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "failed to take triggers");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
