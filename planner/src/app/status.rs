//! The app's status: computed whole each time, written only where it differs.
//!
//! Decides conditions and phase from what the rollout and the failures say. Counts of pods ride along
//! with other changes or wait until no pod is on its way: a status is no ticker.

use signalbox_crds::PortfolioAppStatus;
use signalbox_crds::app::RolloutStatus;
use signalbox_crds::condition::{
    ConditionStatus, LastDecision, READY, RECONCILING, STALLED, Wanted, merge,
};
use signalbox_crds::names::LABEL_OWNER;

use super::resolve::App;
use super::rollout::{Course, Decision, Mood};
use super::world::World;
use crate::draft::{Dependent as _, Draft, STATUS};
use crate::failure::Assessment;

/// What is told of an app.
#[derive(Default)]
pub(super) struct Told {
    pub(super) mood: Mood,
    /// Children that somebody else owns.
    pub(super) taken: Vec<String>,
    /// What is left out, and children that are on their way out.
    pub(super) notes: Vec<String>,
}

/// The status after the course.
pub(super) fn after(app: &App<'_>, world: &World<'_>, course: &Course) -> PortfolioAppStatus {
    let (mut pods, mut ready, mut asked) = (0_i32, 0_i32, 0_i32);
    for revision in world.revisions() {
        pods = pods.saturating_add(revision.pods());
        ready = ready.saturating_add(revision.ready());
        asked = asked.saturating_add(revision.asked());
    }
    let old = &app.status;
    let mut new = PortfolioAppStatus {
        revision: Some(app.revision.clone()),
        stable: course.stable.clone(),
        failed_revision: course.failed.clone(),
        rollout: course.rollout.clone().map(|rollout| clipped(app, rollout)),
        release: course.release.clone(),
        selector: Some(format!("{LABEL_OWNER}={}", app.name())),
        next_wake: course.wake,
        ..old.clone()
    };
    if let Some(decision) = &course.decision {
        new.last_decision = Some(decided(app, decision));
    }
    let is_still = pods == asked && ready == asked && course.sizes.is_empty();
    if is_still || (old.ready_replicas, old.replicas) != (ready, pods) && new != *old {
        (new.replicas, new.ready_replicas) = (pods, ready);
    }
    new
}

/// Stored times are never later than what the watcher's clock says.
fn clipped(app: &App<'_>, mut rollout: RolloutStatus) -> RolloutStatus {
    let now = app.now();
    rollout.started_at = rollout.started_at.min(now);
    rollout.message = rollout
        .message
        .map(|text| signalbox_crds::condition::clip(&text, 1024));
    rollout
}

fn decided(app: &App<'_>, decision: &Decision) -> LastDecision {
    let old = app.status.last_decision.clone();
    let same = |old: &LastDecision| old.action == decision.action && old.reason == decision.reason;
    old.filter(same).unwrap_or_else(|| LastDecision {
        action: decision.action.to_owned(),
        reason: decision.reason.clone(),
        value: decision.value.clone(),
        threshold: decision.threshold.clone(),
        actor: app.seen.cause.actor(),
        reconcile_id: app.seen.reconcile_id.to_string(),
    })
}

/// Adds the status write to the draft, last, if anything differs; `wanted` are the keys of all actions
/// that are planned or held back.
pub(super) fn finish(
    app: &App<'_>,
    draft: &mut Draft,
    mut new: PortfolioAppStatus,
    told: Told,
    failures: Assessment,
    wanted: &[String],
) {
    let Told {
        mut mood,
        taken,
        notes,
    } = told;
    let stalled = failures.stalled.clone();
    let failure = failures.settle(wanted);
    if let Some(failure) = &failure {
        mood.ready = false;
        mood.message = format!(
            "{} failed with {}: {}",
            failure.action, failure.class, failure.message
        );
        mood.stalled |= stalled.is_some();
        mood.busy = true;
    }
    let reason = match &failure {
        Some(failure) => failure.class.clone(),
        None if !taken.is_empty() => "NameTaken".to_owned(),
        None => mood.reason.to_owned(),
    };
    if !taken.is_empty() {
        mood.ready = false;
        mood.busy = true;
        let taken = taken.join("; ");
        mood.message = if failure.is_some() {
            format!("{}; {taken}", mood.message)
        } else {
            taken
        };
    }
    if !notes.is_empty() {
        mood.message = format!("{} ({})", mood.message, notes.join("; "));
    }
    let phase = if mood.stalled && mood.phase != "RolledBack" {
        "Stalled"
    } else {
        mood.phase
    };
    new.phase = Some(phase.to_owned());
    new.observed_generation = app.generation();
    new.conditions = conditions(app, &mood, &reason);
    if failure.is_some() && failure != app.status.last_failure {
        // A failure is told before anything is tried again: another one would keep the telling from its turn.
        draft.actions.clear();
    }
    new.last_failure = failure;
    let earlier = draft.keys();
    if let Some(patch) = crate::status::patch(app.object, &app.status, &new) {
        let occurrence = signalbox_common::digest::short_of_json(&patch, 32);
        draft.push(STATUS, &occurrence, patch).after(&earlier);
    }
    if !mood.ready || mood.busy || new.next_wake.is_some() {
        draft.wait(new.next_wake, mood.message);
    }
}

fn conditions(
    app: &App<'_>,
    mood: &Mood,
    reason: &str,
) -> Vec<signalbox_crds::condition::Condition> {
    let status = |holds: bool| {
        if holds {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        }
    };
    let busy = mood.busy && !mood.stalled;
    let quiet = |holds: bool, word: &'static str| {
        if holds {
            reason.to_owned()
        } else {
            word.to_owned()
        }
    };
    let (busy_reason, stalled_reason) = (quiet(busy, "Idle"), quiet(mood.stalled, "Progressing"));
    let message = |holds: bool| {
        if holds {
            mood.message.clone()
        } else {
            String::new()
        }
    };
    let wanted = [
        Wanted {
            type_: READY,
            status: status(mood.ready),
            reason,
            message: mood.message.clone(),
        },
        Wanted {
            type_: RECONCILING,
            status: status(busy),
            reason: &busy_reason,
            message: message(busy),
        },
        Wanted {
            type_: STALLED,
            status: status(mood.stalled),
            reason: &stalled_reason,
            message: message(mood.stalled),
        },
    ];
    merge(&app.status.conditions, &wanted, app.generation(), app.now())
}
