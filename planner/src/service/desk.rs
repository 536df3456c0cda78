//! One Event from delivery to acknowledgement: record, send, acknowledge, in this order.
//!
//! Decides the order of effects; what the answer is stands in [`super::answer`].

use futures::future::try_join;
use signalbox_common::bus::{Delivery, Message, SharedBus, heartbeat};
use signalbox_common::record::{dead_message, flight_message, ledger_message};
use signalbox_common::subject::Stream;
use signalbox_common::telemetry;
use signalbox_common::wire::OutcomeResult;
use signalbox_common::wire::planned::{self, PLANNED};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::answer::{Answer, Flight, answer, outcome, unplannable};
use super::metrics::Counts;
use super::post::{Post, Unsent};

/// Tries of an acknowledgement; after them the Event comes again, which is harmless.
const ACKS: usize = 3;

/// Handles Events.
pub(super) struct Desk {
    bus: SharedBus,
    by: String,
    counts: Counts,
    stop: CancellationToken,
}

impl Desk {
    /// A desk that reports as `by` and gives up what it waits for at `stop`.
    pub(super) fn new(bus: SharedBus, by: String, counts: Counts, stop: CancellationToken) -> Self {
        Self {
            bus,
            by,
            counts,
            stop,
        }
    }

    /// Handles one Event.
    pub(super) async fn handle(&self, delivery: Delivery) {
        self.handle_with(delivery, crate::plan).await;
    }

    /// The same with another planner.
    pub(super) async fn handle_with<P>(&self, delivery: Delivery, plan: P)
    where
        P: FnOnce(&signalbox_common::wire::Observation) -> signalbox_common::wire::Plan,
    {
        let span = tracing::info_span!("event", subject = delivery.subject);
        telemetry::continue_trace(&span, &delivery.headers);
        async {
            let timer = self.counts.handling.start_timer();
            self.counts.in_work.inc();
            let hold = heartbeat::hold(delivery.acker.clone());
            let post = Post {
                bus: &self.bus,
                hold: &hold,
                stop: &self.stop,
                counts: &self.counts,
                again: delivery.delivered > 1,
            };
            match self.work(&delivery, &post, plan).await {
                Ok(()) => acknowledge(&delivery).await,
                Err(_) if hold.is_lost() => tracing::warn!("the Event is no longer ours"),
                Err(reason) => {
                    tracing::info!(?reason, "giving the Event back");
                    if let Err(error) = delivery.acker.nak().await {
                        tracing::warn!(%error, "failed to give an Event back");
                    }
                }
            }
            self.counts.in_work.dec();
            timer.observe_duration();
        }
        .instrument(span)
        .await;
    }

    async fn work<P>(&self, delivery: &Delivery, post: &Post<'_>, plan: P) -> Result<(), Unsent>
    where
        P: FnOnce(&signalbox_common::wire::Observation) -> signalbox_common::wire::Plan,
    {
        let planning = self.counts.planning.start_timer();
        let (flight, answer) = answer(delivery, plan);
        planning.observe_duration();
        let cause = flight.as_ref().map_or("unknown", |flight| flight.cause);
        self.counts
            .events
            .with_label_values(&[cause, answer.label()])
            .inc();
        let Some(flight) = flight else {
            let Answer::Dead(reason) = answer else {
                return Ok(());
            };
            return bury(delivery, &reason, post).await;
        };
        tracing::debug!(reconcile_id = %flight.id, key = %flight.key, cause, answer = answer.label());
        match answer {
            Answer::Act(body) => {
                record_planned(&flight, delivery, &body, post).await?;
                self.send_plan(&flight, body, post).await
            }
            Answer::Rest(body, result) => {
                record_planned(&flight, delivery, &body, post).await?;
                self.report(&flight, result, false, post).await
            }
            Answer::Line(line) => {
                post.until_stored(&record(&flight, "settled", line)).await?;
                self.report(&flight, OutcomeResult::Settled, false, post)
                    .await
            }
            Answer::Fail(result) => {
                tracing::error!(reconcile_id = %flight.id, key = %flight.key, ?result, "unplannable");
                let event = record(&flight, "event", delivery.body.clone());
                post.until_stored(&event).await?;
                self.report(&flight, result, true, post).await
            }
            Answer::Dead(reason) => {
                bury(delivery, &reason, post).await?;
                self.report(&flight, OutcomeResult::Dead { reason }, true, post)
                    .await
            }
        }
    }

    async fn send_plan(
        &self,
        flight: &Flight,
        body: Vec<u8>,
        post: &Post<'_>,
    ) -> Result<(), Unsent> {
        let Some(message) =
            flight_message(&flight.cluster, Stream::Plans, &flight.key, flight.id, body)
        else {
            return Ok(());
        };
        match post.plan(&message).await {
            Err(Unsent::Busy) => self.report(flight, OutcomeResult::Busy, true, post).await,
            Err(Unsent::Refused(why)) => self.report(flight, unplannable(why), true, post).await,
            sent @ (Ok(()) | Err(Unsent::GivenUp)) => sent,
        }
    }

    /// Ends the flight; `recorded` if the Plan in LEDGER does not tell the result.
    async fn report(
        &self,
        flight: &Flight,
        result: OutcomeResult,
        recorded: bool,
        post: &Post<'_>,
    ) -> Result<(), Unsent> {
        let outcome = outcome(flight, &self.by, result);
        let body = serde_json::to_vec(&outcome).map_err(|err| Unsent::Refused(err.to_string()))?;
        if recorded {
            post.until_stored(&record(flight, "outcome", body.clone()))
                .await?;
        }
        match flight_message(
            &flight.cluster,
            Stream::Outcomes,
            &flight.key,
            flight.id,
            body,
        ) {
            Some(message) => post.until_stored(&message).await,
            None => Ok(()),
        }
    }
}

/// Records Event and Plan: as one entry if they fit into a message, else side by side.
async fn record_planned(
    flight: &Flight,
    delivery: &Delivery,
    plan: &[u8],
    post: &Post<'_>,
) -> Result<(), Unsent> {
    if let Some(both) = planned::join(&delivery.body, plan) {
        return post.until_stored(&record(flight, PLANNED, both)).await;
    }
    let event = record(flight, "event", delivery.body.clone());
    let plan = record(flight, "plan", plan.to_vec());
    try_join(post.until_stored(&event), post.until_stored(&plan)).await?;
    Ok(())
}

fn record(flight: &Flight, entry: &str, body: Vec<u8>) -> Message {
    ledger_message(&flight.cluster, entry, &flight.key, flight.id, body)
}

async fn bury(delivery: &Delivery, reason: &str, post: &Post<'_>) -> Result<(), Unsent> {
    tracing::error!(
        subject = delivery.subject,
        reason,
        "an Event could not be used"
    );
    let body = delivery.body.clone();
    post.until_stored(&dead_message(
        Stream::Events,
        &delivery.subject,
        reason,
        body,
    ))
    .await
}

async fn acknowledge(delivery: &Delivery) {
    for _ in 0..ACKS {
        match delivery.acker.ack().await {
            Ok(()) => return,
            Err(error) => tracing::warn!(%error, "failed to acknowledge an Event"),
        }
    }
}
