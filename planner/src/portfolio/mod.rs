//! The plan of a `PortfolioApp`: children, rollout, migrations' release, references, deletion, status.
//!
//! Decides everything from the Observation; performs nothing. One file for each question.

mod children;
mod finalize;
mod quantity;
mod rollout;
mod satisfied;
mod status;
mod steps;
mod trigger;
mod view;

use serde_json::Value;
use signalbox_common::wire::action::{Action, Finalizer, ResolveReferences};
use signalbox_common::wire::{Cause, LiveObject, Observation};
use signalbox_crds::app::StoragePolicy;
use signalbox_crds::{PortfolioAppSpec, PortfolioAppStatus, names};

use crate::draft::Draft;
use crate::{failure, stalled};
use view::View;

/// What to do about an app.
pub(crate) fn decide(seen: &Observation, object: &LiveObject) -> Draft {
    let status: PortfolioAppStatus = parse(object.at("/status")).unwrap_or_default();
    let spec: Result<PortfolioAppSpec, String> = parse(object.at("/spec"));
    if let Some(deleted_at) = object.deleted_at {
        // Works without a readable spec: a bad one can't hold up a deletion.
        return finalize::decide(seen, object, spec.ok().as_ref(), &status, deleted_at);
    }
    let spec = match spec {
        Ok(spec) => spec,
        Err(message) => return stalled::unreadable(seen, object, &message),
    };
    if let Cause::Trigger { trigger } = &seen.cause {
        return trigger::decide(seen, object, &spec, trigger);
    }
    let view = View::new(seen, object, &spec, &status);
    let assessment = failure::assess(seen, status.last_failure.as_ref(), view.generation());
    if needs_finalizer(&spec) && !object.finalizers.iter().any(|f| f == names::FINALIZER) {
        let mut finalizers = object.finalizers.clone();
        finalizers.push(names::FINALIZER.to_owned());
        let mut draft = Draft::new(&object.uid);
        let resource_version = object.resource_version.clone();
        draft.push(
            "finalizer/add",
            &object.uid,
            Action::AddFinalizer(Finalizer {
                resource_version,
                finalizers,
            }),
        );
        return draft;
    }
    let mut draft = Draft::new(&object.uid);
    if let Some(resolve) = unresolved(&view) {
        let key = "references";
        if !assessment.holds(key) {
            draft.push(key, &view.inputs, Action::ResolveReferences(resolve));
        }
        let mut wanted = draft.keys();
        wanted.push(key.to_owned());
        if draft.actions.is_empty() {
            status::waiting_for_references(&view, &mut draft, assessment, &wanted);
        }
        return draft;
    }
    let course = rollout::course(&view);
    let wanted = steps::plan(&view, &course, &assessment, &mut draft);
    status::write(&view, &course, assessment, &wanted, &mut draft);
    draft
}

/// Whether a deletion has steps of its own.
fn needs_finalizer(spec: &PortfolioAppSpec) -> bool {
    spec.deletion.grace_period_seconds > 0
        || (spec.storage.is_some() && spec.deletion.storage == StoragePolicy::Delete)
}

/// The references to resolve: only when the user's own inputs changed.
fn unresolved(view: &View<'_>) -> Option<ResolveReferences> {
    if view.spec.secrets.is_empty() {
        return None;
    }
    let before = view.status.references.clone();
    if before.as_ref().is_some_and(|r| r.for_inputs == view.inputs) {
        return None;
    }
    let mut secrets: Vec<String> = view.spec.secrets.iter().map(|s| s.name.clone()).collect();
    secrets.sort();
    secrets.dedup();
    Some(ResolveReferences {
        resource_version: view.object.resource_version.clone(),
        seen: crate::status::seen(view.object),
        for_inputs: view.inputs.clone(),
        secrets,
        before,
    })
}

fn parse<T: serde::de::DeserializeOwned>(value: Option<&Value>) -> Result<T, String> {
    let value = value
        .cloned()
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    serde_json::from_value(value).map_err(|err| err.to_string())
}
