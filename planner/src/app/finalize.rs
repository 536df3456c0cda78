//! Deletion: what has to happen before an app may go.
//!
//! Decides grace, the end of the pods and the fate of the volume. Nothing is created or repaired any
//! more, and it works even if the spec can't be read.

use jiff::Timestamp;
use serde_json::Value;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::{Finalizer, Scale};
use signalbox_common::wire::plan::Guard;
use signalbox_common::wire::{Action, LiveObject, Observation};
use signalbox_crds::app::StoragePolicy;
use signalbox_crds::names::FINALIZER;

use super::reconcile;
use super::resolve::{App, read_status};
use super::world::{Revision, World, asks_for_none};
use crate::draft::{Dependent as _, Draft, STATUS};
use crate::failure::{assess, later};

/// Key of both finalizer actions.
const KEY: &str = "finalizer";

/// The plan that adds the finalizer, and nothing else; none if there is one or none is needed.
pub(super) fn prepare(app: &App<'_>) -> Option<Draft> {
    let deletion = &app.spec.deletion;
    let drops = app.spec.storage.is_some() && deletion.storage == StoragePolicy::Delete;
    let has = app.object.finalizers.iter().any(|name| name == FINALIZER);
    if has || !(drops || deletion.grace_period_seconds > 0) {
        return None;
    }
    let failures = assess(app.seen, app.status.last_failure.as_ref(), app.generation());
    let mut draft = Draft::new(app.uid());
    if failures.holds(KEY) {
        let mood = super::rollout::Mood {
            phase: "Pending",
            reason: "FinalizerMissing",
            message: "the finalizer is not written yet".to_owned(),
            busy: true,
            ..Default::default()
        };
        let told = super::status::Told {
            mood,
            ..Default::default()
        };
        let mut new = app.status.clone();
        new.next_wake = failures.until;
        super::status::finish(app, &mut draft, new, told, failures, &[KEY.to_owned()]);
        return Some(draft);
    }
    let mut finalizers = app.object.finalizers.clone();
    finalizers.push(FINALIZER.to_owned());
    let resource_version = app.object.resource_version.clone();
    let occurrence = format!("add/{resource_version}");
    let action = Action::AddFinalizer(Finalizer {
        resource_version,
        finalizers,
    });
    draft.push(KEY, &occurrence, action);
    Some(draft)
}

/// The plan for an app that is going away.
pub(super) fn decide(seen: &Observation, object: &LiveObject) -> Draft {
    let mut draft = Draft::new(&object.uid);
    let deleted_at = object
        .deleted_at
        .unwrap_or(seen.observed_at)
        .min(seen.observed_at);
    if !object.finalizers.iter().any(|name| name == FINALIZER) {
        draft.wait(None, "the app is being deleted");
        return draft;
    }
    let world = World::of(seen, object);
    let grace = object
        .at("/spec/deletion/gracePeriodSeconds")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let over = later(deleted_at, std::time::Duration::from_secs(grace));
    let mut wake = None;
    let message = if seen.observed_at < over {
        wake = Some(over);
        format!("serves until {over}")
    } else {
        take_down(&mut draft, object, &world)
    };
    let status = read_status(object);
    let failures = assess(
        seen,
        status.last_failure.as_ref(),
        object.generation.unwrap_or(0),
    );
    let wanted = draft.keys();
    draft.actions.retain(|action| !failures.holds(&action.key));
    let goes = draft.actions.iter().any(|action| action.key == KEY);
    if !goes {
        let until = failures.until;
        let mut new = status.clone();
        new.phase = Some("Terminating".to_owned());
        new.observed_generation = object.generation.unwrap_or(0);
        new.next_wake = [wake, until].into_iter().flatten().min();
        new.last_failure = failures.settle(&wanted);
        tell(&mut draft, seen, object, (&status, new), &message);
        draft.wait([wake, until].into_iter().flatten().min(), message);
    }
    draft
}

/// Ends the pods, then the volume if it is to go, then the app.
fn take_down(draft: &mut Draft, object: &LiveObject, world: &World<'_>) -> String {
    let revisions = world.revisions();
    if revisions.iter().any(|revision| !revision.is_empty()) {
        for revision in &revisions {
            end_pods(draft, revision);
        }
        return "the pods end".to_owned();
    }
    let drops = object.at("/spec/deletion/storage").and_then(Value::as_str) == Some("Delete");
    let claim = world.own(ChildKind::PersistentVolumeClaim, &object.name);
    if let Some(claim) = claim.filter(|claim| drops && claim.deleted_at.is_none()) {
        if let Some(action) = reconcile::delete(claim) {
            draft.push(reconcile::delete_key(claim), &claim.uid, action);
        }
        return "the volume is deleted".to_owned();
    }
    let finalizers = object
        .finalizers
        .iter()
        .filter(|name| *name != FINALIZER)
        .cloned()
        .collect();
    let resource_version = object.resource_version.clone();
    let deployments = revisions.iter().filter_map(|revision| revision.deployment);
    let mut guards: Vec<Guard> = deployments.map(asks_for_none).collect();
    if drops {
        // Once the app is gone nobody deletes a volume that a late watch has not shown yet.
        let kind = ChildKind::PersistentVolumeClaim;
        guards.push(Guard::none_of(kind, &object.name));
    }
    let action = Action::RemoveFinalizer(Finalizer {
        resource_version,
        finalizers,
    });
    let planned = draft.push(KEY, "remove", action);
    for guard in guards {
        planned.guard(guard);
    }
    "the app goes".to_owned()
}

fn end_pods(draft: &mut Draft, revision: &Revision<'_>) {
    let Some(live) = revision.deployment.filter(|live| live.deleted_at.is_none()) else {
        return;
    };
    let from = revision.asked();
    if from == 0 {
        return;
    }
    let scale = Scale {
        name: live.name.clone(),
        uid: live.uid.clone(),
        resource_version: live.resource_version.clone(),
        from,
        to: 0,
    };
    draft.push(
        format!("scale/Deployment/{}", live.name),
        "deletion",
        Action::Scale(scale),
    );
}

fn tell(
    draft: &mut Draft,
    seen: &Observation,
    object: &LiveObject,
    (old, mut new): (
        &signalbox_crds::PortfolioAppStatus,
        signalbox_crds::PortfolioAppStatus,
    ),
    message: &str,
) {
    use signalbox_crds::condition::{ConditionStatus, READY, RECONCILING, Wanted, merge};
    let failed = new.last_failure.as_ref().map(|failure| {
        format!(
            "{} failed with {}: {}",
            failure.action, failure.class, failure.message
        )
    });
    let message = failed.unwrap_or_else(|| message.to_owned());
    let want = |type_: &'static str, status: ConditionStatus| Wanted {
        type_,
        status,
        reason: "Terminating",
        message: message.clone(),
    };
    let wanted = [
        want(READY, ConditionStatus::False),
        want(RECONCILING, ConditionStatus::True),
    ];
    let now: Timestamp = seen.observed_at;
    new.conditions = merge(&old.conditions, &wanted, new.observed_generation, now);
    let earlier = draft.keys();
    if let Some(patch) = crate::status::patch(object, old, &new) {
        let occurrence = signalbox_common::digest::short_of_json(&patch, 32);
        draft.push(STATUS, &occurrence, patch).after(&earlier);
    }
}
