//! The status of an app: computed whole, written where it differs, as the last action of a plan.
//!
//! Decides what status says; never what is done.

use signalbox_common::kinds::ChildKind;
use signalbox_crds::PortfolioAppStatus;
use signalbox_crds::app::AppRelease;
use signalbox_crds::condition::{
    ConditionStatus, LastDecision, READY, RECONCILING, STALLED, Wanted, merge,
};
use signalbox_crds::names;

use super::rollout::Course;
use super::view::View;
use crate::draft::{Dependent as _, Draft, STATUS};
use crate::failure::Assessment;

/// Adds the status write, if status differs.
pub(crate) fn write(
    view: &View<'_>,
    course: &Course,
    assessment: Assessment,
    wanted: &[String],
    draft: &mut Draft,
) {
    let mut next = view.status.clone();
    next.observed_generation = view.generation();
    next.revision = Some(view.revision.clone());
    next.stable.clone_from(&course.stable);
    next.failed_revision.clone_from(&course.failed);
    next.rollout.clone_from(&course.rollout);
    next.selector = Some(format!("{}={}", names::LABEL_OWNER, view.name()));
    if let (Some((phase, revision)), Some(migrations)) = (&course.release, &view.spec.migrations) {
        next.release = Some(AppRelease {
            migration: migrations.name.clone(),
            revision: revision.clone(),
            phase: *phase,
        });
    }
    if view.spec.secrets.is_empty() {
        next.references = None;
    }
    let mut told = Told {
        phase: course.phase,
        ready: course.ready,
        stalled: course.stalled,
        reason: course.reason.to_owned(),
        message: course.message.clone(),
        wake: course.wake,
    };
    told.failing(assessment, wanted, &mut next);
    finish(view, told, next, draft);
}

/// Only the references are waited for.
pub(crate) fn waiting_for_references(
    view: &View<'_>,
    draft: &mut Draft,
    assessment: Assessment,
    wanted: &[String],
) {
    let mut next = view.status.clone();
    next.observed_generation = view.generation();
    let mut told = Told {
        phase: "Pending",
        ready: false,
        stalled: false,
        reason: "References".to_owned(),
        message: "the referenced Secrets are read".to_owned(),
        wake: None,
    };
    told.failing(assessment, wanted, &mut next);
    finish(view, told, next, draft);
}

/// What conditions and phase say.
struct Told {
    phase: &'static str,
    ready: bool,
    stalled: bool,
    reason: String,
    message: String,
    wake: Option<jiff::Timestamp>,
}

impl Told {
    /// A failure outweighs what the course says.
    fn failing(
        &mut self,
        assessment: Assessment,
        wanted: &[String],
        next: &mut PortfolioAppStatus,
    ) {
        let until = assessment.until;
        let stalled = assessment.stalled.clone();
        next.last_failure = assessment.settle(wanted);
        let Some(failure) = &next.last_failure else {
            return;
        };
        self.ready = false;
        self.reason.clone_from(&failure.class);
        self.message = format!(
            "{}: {} (attempt {})",
            failure.action, failure.message, failure.attempts
        );
        if let Some(reason) = stalled {
            self.stalled = true;
            self.phase = "Stalled";
            self.reason = reason;
        }
        if let Some(until) = until {
            self.wake = Some(self.wake.map_or(until, |wake| wake.min(until)));
        }
    }
}

fn finish(view: &View<'_>, told: Told, mut next: PortfolioAppStatus, draft: &mut Draft) {
    let reconciling =
        !told.ready && !told.stalled && told.phase != "Paused" && told.phase != "RolledBack";
    let is = |yes: bool| {
        if yes {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        }
    };
    let one = |type_, status| Wanted {
        type_,
        status,
        reason: &told.reason,
        message: told.message.clone(),
    };
    let conditions = [
        one(READY, is(told.ready)),
        one(RECONCILING, is(reconciling)),
        one(STALLED, is(told.stalled)),
    ];
    next.conditions = merge(
        &view.status.conditions,
        &conditions,
        view.generation(),
        view.now(),
    );
    next.phase = Some(told.phase.to_owned());
    next.next_wake = told.wake;
    let changed = view
        .status
        .last_decision
        .as_ref()
        .is_none_or(|d| d.action != told.phase || d.reason != told.reason);
    if changed {
        next.last_decision = Some(LastDecision {
            action: told.phase.to_owned(),
            reason: told.reason.clone(),
            value: next.revision.clone(),
            threshold: None,
            actor: view.seen.cause.actor(),
            reconcile_id: view.seen.reconcile_id.to_string(),
        });
    }
    let before = draft.keys();
    // Counts on the way are not worth a write of their own: they ride with the next news.
    if told.ready || next != *view.status {
        counts(view, &mut next);
    }
    if let Some(action) = crate::status::patch(view.object, view.status, &next) {
        draft
            .push(STATUS, &view.seen.reconcile_id.to_string(), action)
            .after(&before);
    }
    if !told.ready {
        draft.wait(told.wake, told.message);
    }
}

/// Pods of all revisions.
fn counts(view: &View<'_>, next: &mut PortfolioAppStatus) {
    let deployments = view
        .seen
        .children
        .iter()
        .filter(|o| o.kind == ChildKind::Deployment.as_str() && o.is_owned_by(view.uid()));
    let (mut all, mut ready) = (0, 0);
    for deployment in deployments {
        all += deployment.count("/status/replicas");
        ready += deployment.count("/status/readyReplicas");
    }
    next.replicas = i32::try_from(all).unwrap_or(i32::MAX);
    next.ready_replicas = i32::try_from(ready).unwrap_or(i32::MAX);
}
