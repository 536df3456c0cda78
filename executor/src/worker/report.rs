//! The Outcome of a plan: exactly one, stored before the plan is acknowledged.
//!
//! Decides what it says; never whether the object is planned again.

use std::time::Duration;

use futures::future::join;
use signalbox_common::bus::heartbeat::Hold;
use signalbox_common::bus::{Message, PublishError, SharedBus};
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::subject::Stream;
use signalbox_common::wire::outcome::{Failure, Outcome, OutcomeResult};
use signalbox_common::wire::{LateWrite, MAX_MESSAGE_BYTES, Plan, Verdict, answering, schema};
use signalbox_common::{clock, record};

use super::actions::Ran;
use crate::metrics::ExecutorMetrics;

/// Between two tries to store an Outcome.
const AGAIN: Duration = Duration::from_millis(50);
/// The same when the bus failed so often that the budget of retries is used up.
const LATE: Duration = Duration::from_millis(500);
/// Tries to record an Outcome in LEDGER while nothing else is wrong.
const RECORD_TRIES: u32 = 20;

/// Who reports: part and instance.
pub(super) fn by(instance: &str) -> String {
    format!("executor {instance}")
}

/// An Outcome that tells no more than a result.
pub(super) fn plain(
    key: &ObjectKey,
    reconcile_id: ReconcileId,
    uid: &str,
    instance: &str,
    result: OutcomeResult,
) -> Outcome {
    Outcome {
        schema: schema(),
        reconcile_id,
        key: key.clone(),
        uid: uid.to_owned(),
        by: by(instance),
        trigger: None,
        result,
        actions: Vec::new(),
        written: Vec::new(),
        live: None,
        not_before: None,
        late: Vec::new(),
        rest: None,
    }
}

/// The Outcome of a plan without what its actions came to.
pub(super) fn of_plan(plan: &Plan, instance: &str, result: OutcomeResult) -> Outcome {
    let outcome = plain(&plan.key, plan.reconcile_id, &plan.uid, instance, result);
    Outcome {
        schema: answering(plan.schema),
        trigger: plan.trigger.clone(),
        ..outcome
    }
}

/// The Outcome of a plan that another holder may have begun: its requests may still be on their way.
pub(super) fn interrupted(plan: &Plan, instance: &str) -> Outcome {
    let actions = match &plan.verdict {
        Verdict::Act { actions } => actions.as_slice(),
        Verdict::Settled | Verdict::Waiting { .. } => &[],
    };
    let late = actions.iter().filter_map(|planned| {
        LateWrite::of(plan.key.kind, &plan.key.name, &plan.uid, &planned.action)
    });
    Outcome {
        late: late.collect(),
        ..of_plan(plan, instance, OutcomeResult::Interrupted)
    }
}

/// The Outcome of a plan whose actions were run.
pub(super) fn of_actions(plan: &Plan, instance: &str, ran: Ran) -> Outcome {
    let mut outcome = of_plan(plan, instance, OutcomeResult::Done);
    outcome.actions = ran.reports;
    outcome.written = ran.written;
    outcome.late = ran.late;
    outcome.rest = plan.rest.filter(|_| ran.exact);
    if let Some((action, err)) = ran.failed {
        let wait = err
            .retry_after
            .and_then(|wait| jiff::SignedDuration::try_from(wait).ok());
        outcome.not_before = wait.and_then(|wait| clock::now().checked_add(wait).ok());
        outcome.live = err.live.map(|live| *live);
        outcome.rest = None;
        outcome.result = if err.busy {
            OutcomeResult::Busy
        } else {
            OutcomeResult::Failed(Failure {
                action,
                class: err.class,
                message: err.message,
            })
        };
    }
    outcome
}

/// The body of an Outcome. One that is too large for the bus goes without the live object.
pub(super) fn body(mut outcome: Outcome) -> Vec<u8> {
    let body = serde_json::to_vec(&outcome).unwrap_or_default();
    if body.len() <= MAX_MESSAGE_BYTES {
        return body;
    }
    outcome.live = None;
    serde_json::to_vec(&outcome).unwrap_or_default()
}

/// Where Outcomes go.
pub(super) struct Reporter<'a> {
    pub(super) bus: &'a SharedBus,
    pub(super) cluster: &'a str,
    pub(super) metrics: &'a ExecutorMetrics,
}

impl Reporter<'_> {
    /// Stores the Outcome and records it, side by side: nobody reads the record before the flight is over. False:
    /// the delivery was lost before it was stored, and whoever has it now reports.
    pub(super) async fn report(&self, outcome: Outcome, hold: &Hold) -> bool {
        let (key, id) = (outcome.key.clone(), outcome.reconcile_id);
        self.metrics.plan(outcome.result.label());
        let body = body(outcome);
        let message =
            record::flight_message(self.cluster, Stream::Outcomes, &key, id, body.clone());
        let Some(message) = message else { return false };
        let entry = record::ledger_message(self.cluster, "outcome", &key, id, body);
        let (stored, ()) = join(self.store(&message, hold), self.record(entry, hold)).await;
        stored
    }

    /// Publishes until it is stored; also waits while another Outcome of the object is there.
    async fn store(&self, message: &Message, hold: &Hold) -> bool {
        let mut told = false;
        while !hold.is_lost() {
            let Err(err) = self.bus.publish(message.clone()).await else {
                return true;
            };
            // A try whose answer was lost may be what is there now; the watcher takes it and drops
            // the second as one that it knows already.
            if !told {
                tracing::warn!(subject = %message.subject, error = %err, "the outcome is not stored yet");
                told = true;
            }
            if matches!(err, PublishError::TooLarge { .. }) {
                tracing::error!(subject = %message.subject, "the outcome is too large for the bus");
                return false;
            }
            pause(self.wait(&err), hold).await;
        }
        tracing::warn!(subject = %message.subject, "the delivery was lost before its outcome was stored");
        false
    }

    /// The wait before another try. A place that is still taken costs no retry: it becomes free.
    fn wait(&self, err: &PublishError) -> Duration {
        match err {
            PublishError::Occupied(_) | PublishError::Full(_) => AGAIN,
            PublishError::Unknown(..)
            | PublishError::Forbidden(_)
            | PublishError::TooLarge { .. } => {
                if self.bus.may_retry() {
                    AGAIN
                } else {
                    LATE
                }
            }
        }
    }

    /// Records in LEDGER; given up after a while, which is counted.
    async fn record(&self, entry: Message, hold: &Hold) {
        for _ in 0..RECORD_TRIES {
            let Err(err) = self.bus.publish(entry.clone()).await else {
                return;
            };
            tracing::debug!(error = %err, "the outcome is not recorded yet");
            if hold.is_lost() || matches!(err, PublishError::TooLarge { .. }) {
                break;
            }
            pause(self.wait(&err), hold).await;
        }
        tracing::warn!(subject = %entry.subject, "the outcome could not be recorded");
        self.metrics.record_lost();
    }
}

/// Waits, but not when the delivery is lost.
pub(super) async fn pause(time: Duration, hold: &Hold) {
    let lost = hold.lost();
    // Either way the caller looks again.
    drop(tokio::time::timeout(time, lost.cancelled()).await);
}
