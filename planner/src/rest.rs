//! Foresight: what the next look behind a plan would find, if the plan is done exactly.
//!
//! Decides whether that look is needed. It is planned like any other, on the Observation as the plan's own writes
//! leave it; only where nothing would be done then can it be left out. In doubt it is needed.

use serde_json::{Map, Value};
use signalbox_common::json::merged;
use signalbox_common::wire::action::{ApplyChild, ApplyMode, PatchStatus, Scale};
use signalbox_common::wire::outcome::{ActionReport, ActionResult};
use signalbox_common::wire::plan::Rest;
use signalbox_common::wire::trim::trim;
use signalbox_common::wire::{
    Action, Cause, LiveObject, Observation, Outcome, OutcomeResult, PlannedAction, SCHEMA, Verdict,
};

/// What is foreseen behind `actions`, from the Observation that they were planned on. `decide` plans.
pub(crate) fn foresee(
    seen: &Observation,
    actions: &[PlannedAction],
    decide: impl FnOnce(&Observation) -> Verdict,
) -> Option<Rest> {
    // A trigger's plan changes one field; what that means has not been looked at.
    if seen.cause.trigger().is_some() || seen.too_large {
        return None;
    }
    decide(&behind(seen, actions)?).rest()
}

/// The Observation behind actions that were all done; none if one of them leaves what nobody can foresee.
fn behind(seen: &Observation, actions: &[PlannedAction]) -> Option<Observation> {
    let mut next = seen.clone();
    next.cause = Cause::Outcome;
    next.interrupted = 0;
    for planned in actions {
        match &planned.action {
            Action::ApplyChild(child) => applied(&mut next, child)?,
            Action::PatchStatus(patch) => patched(next.object.as_mut()?, patch),
            Action::Scale(scale) => scaled(&mut next, scale)?,
            // Nothing that a plan rests on.
            Action::EmitEvent(_) => {}
            Action::DeleteChild(_)
            | Action::FenceChild(_)
            | Action::PatchSpec(_)
            | Action::AddFinalizer(_)
            | Action::RemoveFinalizer(_)
            | Action::ResolveReferences(_)
            | Action::ResolveSource(_)
            | Action::ClaimStep(_)
            | Action::CancelStep(_) => return None,
        }
    }
    next.outcome = Some(Box::new(done(seen, actions)));
    Some(next)
}

/// The Outcome of such a plan.
fn done(seen: &Observation, actions: &[PlannedAction]) -> Outcome {
    let report = |planned: &PlannedAction| ActionReport {
        key: planned.key.clone(),
        id: planned.id,
        result: ActionResult::Done,
        took_ms: 0,
    };
    Outcome {
        schema: SCHEMA,
        reconcile_id: seen.reconcile_id,
        key: seen.key.clone(),
        uid: seen.uid.clone(),
        by: String::new(),
        trigger: None,
        result: OutcomeResult::Done,
        actions: actions.iter().map(report).collect(),
        written: Vec::new(),
        live: None,
        not_before: None,
        late: Vec::new(),
        rest: None,
    }
}

fn patched(object: &mut LiveObject, patch: &PatchStatus) {
    let status = merged(object.at("/status"), &patch.status);
    if let Some(content) = object.content.as_object_mut() {
        content.insert("status".to_owned(), status);
    }
}

/// The child as an apply leaves it. What a PUT leaves is the server's to tell.
fn applied(next: &mut Observation, child: &ApplyChild) -> Option<()> {
    match &child.mode {
        ApplyMode::Create => {
            let created = created(next, child)?;
            next.children.push(created);
        }
        ApplyMode::Apply { uid, .. } => {
            let live = next.children.iter_mut().find(|live| live.uid == *uid)?;
            let wanted = configured(&child.object, live)?;
            let spec = live.at("/spec").cloned();
            live.labels.extend(wanted.labels);
            live.annotations.extend(wanted.annotations);
            live.owners = wanted.owners;
            live.content = merged(Some(&live.content), &wanted.content);
            if live.at("/spec") != spec.as_ref() {
                live.generation = live.generation.map(|generation| generation + 1);
            }
        }
        ApplyMode::Replace { .. } => return None,
    }
    Some(())
}

/// The child of a configuration, trimmed as at the watch, with what identifies `live`.
fn configured(object: &Value, live: &LiveObject) -> Option<LiveObject> {
    let mut object = object.clone();
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    identify(metadata, &live.uid, &live.resource_version, live.created_at);
    trim(object)
}

/// A child that the API server has just made. Its name serves as its uid, which no plan looks into.
fn created(next: &Observation, child: &ApplyChild) -> Option<LiveObject> {
    let taken = |live: &LiveObject| live.kind == child.kind.as_str() && live.name == child.name;
    if next.children.iter().any(taken) {
        return None;
    }
    let mut object = child.object.clone();
    let metadata = object.get_mut("metadata")?.as_object_mut()?;
    identify(metadata, &child.name, "1", next.observed_at);
    if object.get("spec").is_some() {
        object
            .get_mut("metadata")?
            .as_object_mut()?
            .insert("generation".to_owned(), 1.into());
    }
    trim(object)
}

fn identify(
    metadata: &mut Map<String, Value>,
    uid: &str,
    version: &str,
    created_at: jiff::Timestamp,
) {
    for (field, value) in [
        ("uid", uid.to_owned()),
        ("resourceVersion", version.to_owned()),
        ("creationTimestamp", created_at.to_string()),
    ] {
        metadata.insert(field.to_owned(), value.into());
    }
}

fn scaled(next: &mut Observation, scale: &Scale) -> Option<()> {
    let named = |live: &&mut LiveObject| live.kind == "Deployment" && live.name == scale.name;
    let live = next.children.iter_mut().find(named)?;
    let spec = live.content.get_mut("spec")?.as_object_mut()?;
    spec.insert("replicas".to_owned(), scale.to.into());
    live.generation = live.generation.map(|generation| generation + 1);
    Some(())
}
