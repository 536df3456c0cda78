//! Draining OUTCOMES: every Outcome is taken, acknowledged and told, whatever it says.
//!
//! Never decides what an Outcome means. One that can't be read goes to DEAD and ends its flight.

use std::time::Duration;

use futures::future::join_all;
use signalbox_common::bus::{Delivery, SharedBus};
use signalbox_common::health::Check;
use signalbox_common::id::ObjectKey;
use signalbox_common::record;
use signalbox_common::subject::{self, Stream};
use signalbox_common::wire::{self, Outcome};
use tokio::sync::{mpsc, watch};

use crate::queue::WINDOW;

/// How long one fetch waits.
const FETCH: Duration = Duration::from_secs(2);
/// Wait after a failed fetch.
const AGAIN: Duration = Duration::from_millis(300);

/// An Outcome, or what is known of one that can't be read.
#[derive(Clone, Debug)]
pub(crate) enum Arrived {
    /// As it came.
    Outcome(Box<Outcome>),
    /// The flight of this object has ended in a way that can't be read.
    Unreadable(ObjectKey),
}

/// Drains while this watcher leads; ends when nobody listens.
pub(crate) async fn drain(
    bus: SharedBus,
    cluster: String,
    mut leading: watch::Receiver<bool>,
    tell: mpsc::Sender<Arrived>,
    check: Check,
) {
    loop {
        if !*leading.borrow_and_update() {
            check.ok();
            if leading.changed().await.is_err() {
                return;
            }
            continue;
        }
        let fetched = tokio::select! {
            biased;
            fetched = bus.fetch(Stream::Outcomes, WINDOW, FETCH) => fetched,
            changed = leading.changed() => match changed {
                // What an abandoned fetch was given comes again after the ack wait.
                Ok(()) => continue,
                Err(_closed) => return,
            },
        };
        match fetched {
            Ok(deliveries) => {
                check.ok();
                for arrived in join_all(deliveries.iter().map(|one| take(&bus, one))).await {
                    let Some(arrived) = arrived.filter(|one| is_of(one, &cluster)) else {
                        continue;
                    };
                    if tell.send(arrived.1).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                check.fail(error.to_string());
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn is_of((of, _): &(String, Arrived), cluster: &str) -> bool {
    of == cluster
}

/// Reads and acknowledges: the next flight may report as soon as this one's place is free.
async fn take(bus: &SharedBus, delivery: &Delivery) -> Option<(String, Arrived)> {
    let subject = subject::parse_flight(&delivery.subject);
    let arrived = match wire::decode::<Outcome>(&delivery.body) {
        Ok(outcome) => subject.map(|(of, _)| (of, Arrived::Outcome(Box::new(outcome)))),
        Err(reason) => {
            tracing::error!(subject = delivery.subject, reason, "unreadable Outcome");
            let body = delivery.body.clone();
            let dead = record::dead_message(Stream::Outcomes, &delivery.subject, &reason, body);
            if let Err(error) = bus.publish(dead).await {
                tracing::error!(%error, "failed to record an unreadable Outcome");
            }
            subject.map(|(of, key)| (of, Arrived::Unreadable(key)))
        }
    };
    if let Err(error) = delivery.acker.ack().await {
        // It comes again, as an Outcome of a flight that has ended.
        tracing::warn!(%error, subject = delivery.subject, "failed to acknowledge an Outcome");
    }
    arrived
}
