//! A trigger: one write of one field, once.
//!
//! Decides whether a trigger is news; never what follows from the changed field.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::{Action, PatchSpec};
use signalbox_common::wire::trigger::{Trigger, Verb};
use signalbox_common::wire::{LiveObject, Observation};
use signalbox_crds::{PortfolioAppSpec, names};

use crate::draft::Draft;

/// The plan of a trigger: empty for one that was applied already or is older than the last.
pub(crate) fn decide(
    seen: &Observation,
    object: &LiveObject,
    spec: &PortfolioAppSpec,
    trigger: &Trigger,
) -> Draft {
    let mut draft = Draft::new(&object.uid);
    let last_id = object.annotations.get(names::ANNOTATION_TRIGGER);
    let last_time = object
        .annotations
        .get(names::ANNOTATION_TRIGGER_TIME)
        .and_then(|t| t.parse::<Timestamp>().ok());
    if last_id == Some(&trigger.id) || last_time.is_some_and(|last| trigger.time < last) {
        return draft;
    }
    let (pointer, before, patch) = match &trigger.verb {
        Verb::SetImage { image } => ("/spec/image", json!(spec.image), json!({ "image": image })),
        Verb::Restart => (
            "/spec/restart",
            object.at("/spec/restart").cloned().unwrap_or(Value::Null),
            json!({ "restart": trigger.id.chars().take(64).collect::<String>() }),
        ),
    };
    let action = Action::PatchSpec(PatchSpec {
        kind: Kind::PortfolioApp,
        name: seen.key.name.clone(),
        uid: object.uid.clone(),
        resource_version: object.resource_version.clone(),
        replaces: [(pointer.to_owned(), before)].into(),
        spec: patch,
        annotations: [
            (names::ANNOTATION_TRIGGER.to_owned(), trigger.id.clone()),
            (
                names::ANNOTATION_TRIGGER_TIME.to_owned(),
                trigger.time.to_string(),
            ),
        ]
        .into(),
    });
    draft.push("trigger", &trigger.id, action);
    draft
}
