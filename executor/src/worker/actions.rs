//! The actions of one plan: in their order of dependency, independent ones side by side.
//!
//! Decides when to stop: at the first that can't be done. A panic in an action is its failure and
//! nothing else's.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::LateWrite;
use signalbox_common::wire::outcome::{ActionReport, ActionResult, Written};
use signalbox_common::wire::plan::PlannedAction;
use signalbox_common::{panic, part};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::schedule::Schedule;
use crate::apply;
use crate::claims::LongWork;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use crate::metrics::{ExecutorMetrics, result_label};

/// What came of a plan's actions.
#[derive(Debug)]
pub(super) struct Ran {
    /// One entry an action, in the order of the plan.
    pub(super) reports: Vec<ActionReport>,
    /// What was written.
    pub(super) written: Vec<Written>,
    /// The first that could not be done, by its key.
    pub(super) failed: Option<(String, ActionError)>,
    /// What was sent and may still be written, or was to be fenced and is not.
    pub(super) late: Vec<LateWrite>,
    /// Every action was done, at the first try, and left what it was to leave.
    pub(super) exact: bool,
}

/// One action that has ended.
struct Ended {
    place: usize,
    took_ms: i64,
    result: Result<Applied, ActionError>,
}

/// Runs the actions of a plan.
///
/// # Errors
/// Why they have no order; none of them was tried.
pub(super) async fn run(
    ctx: &Arc<PlanContext>,
    work: &Arc<LongWork>,
    metrics: &ExecutorMetrics,
    actions: Vec<PlannedAction>,
) -> Result<Ran, String> {
    let mut schedule = Schedule::new(&actions)?;
    let actions: Vec<Arc<PlannedAction>> = actions.into_iter().map(Arc::new).collect();
    let skipped = |action: &Arc<PlannedAction>| ActionReport {
        key: action.key.clone(),
        id: action.id,
        result: ActionResult::Skipped,
        took_ms: 0,
    };
    let reports = actions.iter().map(skipped).collect();
    let mut ran = Ran {
        reports,
        written: Vec::new(),
        failed: None,
        late: Vec::new(),
        exact: true,
    };
    let mut running = JoinSet::new();
    loop {
        for place in schedule.begin() {
            if let Some(action) = actions.get(place) {
                let one = one(
                    ctx.clone(),
                    work.clone(),
                    metrics.clone(),
                    action.clone(),
                    place,
                );
                running.spawn(part::own(one.in_current_span()));
            }
        }
        match running.join_next().await {
            None => break,
            Some(Ok(ended)) => take(ended, ctx, &actions, &mut schedule, &mut ran),
            // Cancelled tasks and panics outside of the action itself: nothing is known of it.
            Some(Err(err)) => {
                schedule.stop();
                let err =
                    ActionError::new(ErrorClass::Fatal, format!("an action's task ended: {err}"));
                ran.failed.get_or_insert((String::new(), err));
            }
        }
    }
    unfenced(ctx, &actions, &mut ran);
    Ok(ran)
}

/// What was to be fenced and is not may still be written.
fn unfenced(ctx: &PlanContext, actions: &[Arc<PlannedAction>], ran: &mut Ran) {
    for (action, report) in actions.iter().zip(&ran.reports) {
        let done = match report.result {
            ActionResult::Done | ActionResult::FoundDone | ActionResult::Running => true,
            ActionResult::Failed | ActionResult::Skipped => false,
        };
        if !done && action.action.is_fence() {
            ran.late.extend(late(ctx, action));
        }
    }
}

fn late(ctx: &PlanContext, planned: &PlannedAction) -> Option<LateWrite> {
    LateWrite::of(ctx.key.kind, &ctx.key.name, &ctx.uid, &planned.action)
}

fn take(
    ended: Ended,
    ctx: &PlanContext,
    actions: &[Arc<PlannedAction>],
    schedule: &mut Schedule,
    ran: &mut Ran,
) {
    let Some(action) = actions.get(ended.place) else {
        return;
    };
    let result = match ended.result {
        Ok(applied) => {
            applied
                .written
                .iter()
                .for_each(|written| ctx.versions.note(written));
            ran.exact &= applied.exact;
            ran.written.extend(applied.written);
            schedule.done(&action.key);
            applied.result
        }
        Err(err) => {
            schedule.stop();
            if err.unanswered && !action.action.is_fence() {
                ran.late.extend(late(ctx, action));
            }
            ran.failed.get_or_insert_with(|| (action.key.clone(), err));
            ActionResult::Failed
        }
    };
    if let Some(report) = ran.reports.get_mut(ended.place) {
        report.result = result;
        report.took_ms = ended.took_ms;
    }
}

/// The result of an action, whose panic is its failure.
async fn caught(
    task: impl Future<Output = Result<Applied, ActionError>>,
    metrics: &ExecutorMetrics,
) -> Result<Applied, ActionError> {
    // What it shares with others is behind locks that outlive a panic.
    AssertUnwindSafe(task)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            metrics.panicked();
            let said = panic::said(panic.as_ref()).unwrap_or("no reason given");
            Err(ActionError::new(
                ErrorClass::Fatal,
                format!("the action panicked: {said}"),
            ))
        })
}

/// Does one action, and turns a panic in it into its failure.
async fn one(
    ctx: Arc<PlanContext>,
    work: Arc<LongWork>,
    metrics: ExecutorMetrics,
    action: Arc<PlannedAction>,
    place: usize,
) -> Ended {
    let begun = Instant::now();
    let result = caught(apply::act(&ctx, &work, &action), &metrics).await;
    let took = begun.elapsed();
    let took_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
    let outcome = result
        .as_ref()
        .map_or(ActionResult::Failed, |applied| applied.result);
    let label = action.action.label();
    metrics.action(label, outcome, took.as_secs_f64());
    match &result {
        // What came of all of them stands in one line, at the plan's end.
        Ok(_) => tracing::debug!(
            action = %action.key, step = %action.id, kind = label, result = result_label(outcome), took_ms,
            "action"
        ),
        Err(err) => tracing::warn!(
            action = %action.key, step = %action.id, kind = label, class = err.class.label(), error = %err, took_ms,
            "action failed"
        ),
    }
    Ended {
        place,
        took_ms,
        result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::metrics::Metrics;

    #[tokio::test]
    async fn a_panic_in_an_action_is_its_failure() {
        let metrics = ExecutorMetrics::new(&Metrics::new("test")).unwrap();
        let task = async { std::hint::black_box(None::<Result<Applied, ActionError>>).unwrap() };
        let err = caught(task, &metrics).await.unwrap_err();
        assert_eq!(err.class, ErrorClass::Fatal);
        assert!(err.message.contains("panicked"), "{err}");
    }
}
