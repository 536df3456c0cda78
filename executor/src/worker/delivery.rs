//! One delivery of PLANS: from its bytes to its acknowledgement.
//!
//! Decides whether the plan is run at all: not when it can't be read, and not on a second delivery,
//! because a first holder may have done anything.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use signalbox_common::bus::Delivery;
use signalbox_common::bus::heartbeat::{self, Hold};
use signalbox_common::bus::limits::DEAD_DELIVERY;
use signalbox_common::class::ErrorClass;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::record;
use signalbox_common::subject::parse_flight;
use signalbox_common::wire::outcome::{ActionReport, Failure, Outcome, OutcomeResult};
use signalbox_common::wire::plan::Verdict;
use signalbox_common::wire::{self, Plan};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use super::Shared;
use super::report::{self, Reporter};
use super::{actions, report::pause};
use crate::claims::crash;
use crate::context::{PlanContext, Versions};
use crate::metrics::result_label;
use crate::stop::Stop;

/// Time of one plan.
const PLAN_TIME: Duration = Duration::from_secs(10);
/// Between two tries to reach the bus.
const AGAIN: Duration = Duration::from_millis(100);

/// Handles a delivery to its end.
pub(super) async fn handle(shared: Arc<Shared>, delivery: Delivery) {
    let hold = Arc::new(heartbeat::hold(delivery.acker.clone()));
    let outcome = match read(&shared.cluster, &delivery) {
        Err(reason) => bury(&shared, &delivery, &reason, &hold).await,
        Ok(plan) => {
            let span = tracing::info_span!(
                "plan", reconcile_id = %plan.reconcile_id, object = %plan.key, cause = %plan.cause
            );
            signalbox_common::telemetry::continue_trace(&span, &delivery.headers);
            let outcome = judge(&shared, &delivery, plan, &hold)
                .instrument(span)
                .await;
            Some(outcome)
        }
    };
    let reporter = Reporter {
        bus: &shared.bus,
        cluster: &shared.cluster,
        metrics: &shared.metrics,
    };
    if let Some(outcome) = outcome
        && !reporter.report(outcome, &hold).await
    {
        return;
    }
    acknowledge(&delivery, &hold).await;
}

/// The plan of a delivery, or why there is none.
fn read(cluster: &str, delivery: &Delivery) -> Result<Plan, String> {
    if delivery.delivered >= DEAD_DELIVERY {
        return Err(format!(
            "delivered {} times without an end",
            delivery.delivered
        ));
    }
    let plan: Plan = wire::decode(&delivery.body)?;
    match parse_flight(&delivery.subject) {
        Some((of, key)) if of == cluster && key == plan.key => Ok(plan),
        Some(_) | None => Err(format!("a plan of {} on {}", plan.key, delivery.subject)),
    }
}

/// Puts what can't be used into DEAD, with the reason; the Outcome that ends the flight, where it can.
async fn bury(shared: &Shared, delivery: &Delivery, reason: &str, hold: &Hold) -> Option<Outcome> {
    tracing::error!(subject = %delivery.subject, reason, "a plan could not be used");
    let message = record::dead_message(
        delivery.stream,
        &delivery.subject,
        reason,
        delivery.body.clone(),
    );
    while let Err(err) = shared.bus.publish(message.clone()).await {
        tracing::warn!(error = %err, "the dead plan is not stored yet");
        if hold.is_lost() {
            return None;
        }
        pause(AGAIN, hold).await;
    }
    let (cluster, key) = parse_flight(&delivery.subject)?;
    if cluster != shared.cluster {
        return None;
    }
    let (id, uid) = salvage(delivery);
    let result = OutcomeResult::Dead {
        reason: signalbox_crds::condition::clip(reason, 1024),
    };
    Some(report::plain(&key, id, &uid, &shared.instance, result))
}

/// What can still be told of a message that can't be used: flight and uid.
fn salvage(delivery: &Delivery) -> (ReconcileId, String) {
    let body: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
    let text = |field: &str| body.get(field).and_then(serde_json::Value::as_str);
    let header = delivery
        .headers
        .get(record::RECONCILE_ID)
        .map(String::as_str);
    let id = text("reconcileId")
        .or(header)
        .and_then(|id| Uuid::parse_str(id).ok());
    (
        ReconcileId(id.unwrap_or_default()),
        text("uid").unwrap_or_default().to_owned(),
    )
}

/// Runs the plan, or says why not.
async fn judge(
    shared: &Arc<Shared>,
    delivery: &Delivery,
    mut plan: Plan,
    hold: &Arc<Hold>,
) -> Outcome {
    if delivery.delivered >= 2 {
        tracing::warn!(
            delivered = delivery.delivered,
            "a plan was delivered again; not executed"
        );
        return report::interrupted(&plan, &shared.instance);
    }
    // What is reported of a plan that was run is what its actions came to.
    let actions = match std::mem::replace(&mut plan.verdict, Verdict::Settled) {
        Verdict::Act { actions } => actions,
        // The planner reports these itself.
        Verdict::Settled => {
            return report::of_plan(&plan, &shared.instance, OutcomeResult::Settled);
        }
        Verdict::Waiting { until, on } => {
            let result = OutcomeResult::Waiting { until, on };
            return report::of_plan(&plan, &shared.instance, result);
        }
    };
    let ctx = Arc::new(context(shared, &plan, hold, CancellationToken::new()));
    crash::at_plan(&actions);
    let run = actions::run(&ctx, &shared.work, &shared.metrics, actions);
    let ran = within(run, hold, &ctx.cancel).await;
    let outcome = match ran {
        Ok(ran) => report::of_actions(&plan, &shared.instance, ran),
        Err(reason) => {
            let (action, class) = (String::new(), ErrorClass::Invalid);
            let result = OutcomeResult::Failed(Failure {
                action,
                class,
                message: reason,
            });
            report::of_plan(&plan, &shared.instance, result)
        }
    };
    let actions = told(&outcome.actions);
    tracing::info!(result = outcome.result.label(), actor = %plan.actor, actions, "plan ended");
    outcome
}

/// Runs to the end; after the plan's time, or when the delivery is lost, no further request begins.
async fn within<T>(run: impl Future<Output = T>, hold: &Hold, ended: &CancellationToken) -> T {
    let lost = hold.lost();
    let mut run = std::pin::pin!(run);
    tokio::select! {
        biased;
        result = &mut run => return result,
        // Either way nothing more may begin.
        _ = tokio::time::timeout(PLAN_TIME, lost.cancelled()) => ended.cancel(),
    }
    run.await
}

/// What came of the actions, for logs: `status done 4 ms, ..`.
fn told(actions: &[ActionReport]) -> String {
    let mut told = String::new();
    for report in actions {
        let (result, before) = (
            result_label(report.result),
            if told.is_empty() { "" } else { ", " },
        );
        // Into a string nothing fails.
        let _ = write!(
            told,
            "{before}{} {result} {} ms",
            report.key, report.took_ms
        );
    }
    told
}

fn context(
    shared: &Shared,
    plan: &Plan,
    hold: &Arc<Hold>,
    ended: CancellationToken,
) -> PlanContext {
    PlanContext {
        api: shared.api.until(Stop::of(hold, ended.clone())),
        bus: shared.bus.clone(),
        cluster: shared.cluster.clone(),
        instance: shared.instance.clone(),
        key: plan.key.clone(),
        uid: plan.uid.clone(),
        reconcile_id: plan.reconcile_id,
        actor: plan.actor.clone(),
        versions: Arc::new(Versions::default()),
        cancel: ended,
    }
}

/// Acknowledges; without it the plan comes again and is reported as `Interrupted`.
async fn acknowledge(delivery: &Delivery, hold: &Hold) {
    while let Err(err) = delivery.acker.ack().await {
        tracing::warn!(subject = %delivery.subject, error = %err, "failed to acknowledge");
        if hold.is_lost() {
            return;
        }
        pause(AGAIN, hold).await;
    }
}

/// The object of a subject, for logs.
pub(super) fn object_of(delivery: &Delivery) -> Option<ObjectKey> {
    parse_flight(&delivery.subject).map(|(_, key)| key)
}
