//! Triggers: one field of the spec, changed as `kubectl` would change it.
//!
//! Decides whether a trigger is news; never plans anything else beside it. Everything that follows comes
//! from the change itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::PatchSpec;
use signalbox_common::wire::trigger::{ACTION, Verb};
use signalbox_common::wire::{Action, LiveObject, Trigger};
use signalbox_crds::names::{
    ANNOTATION_TRIGGER, ANNOTATION_TRIGGER_TIME, ANNOTATION_TRIGGERS_BESIDE,
};

use crate::draft::Draft;

/// Triggers of one time that are told apart.
const MOST_BESIDE: usize = 16;

/// The plan for a trigger: one write, or none if it is repeated or of the past.
pub(super) fn decide(object: &LiveObject, trigger: &Trigger) -> Draft {
    let mut draft = Draft::new(object.uid.clone());
    if object.deleted_at.is_some() || !is_news(object, trigger) {
        return draft;
    }
    let (field, value) = match &trigger.verb {
        Verb::SetImage { image } => ("image", image.clone()),
        Verb::Restart => ("restart", marker(&trigger.id)),
    };
    let seen = |pointer: &str| object.at(pointer).cloned().unwrap_or(Value::Null);
    let annotation = |key: &str| {
        object
            .annotations
            .get(key)
            .map_or(Value::Null, |value| json!(value))
    };
    let place = |key: &str| {
        format!(
            "/metadata/annotations/{}",
            key.replace('~', "~0").replace('/', "~1")
        )
    };
    let pointer = format!("/spec/{field}");
    let mut annotations = BTreeMap::from([
        (ANNOTATION_TRIGGER.to_owned(), trigger.id.clone()),
        (ANNOTATION_TRIGGER_TIME.to_owned(), trigger.time.to_string()),
    ]);
    let beside = beside(object, trigger);
    if !beside.is_empty() || object.annotations.contains_key(ANNOTATION_TRIGGERS_BESIDE) {
        let list = json!(beside).to_string();
        annotations.insert(ANNOTATION_TRIGGERS_BESIDE.to_owned(), list);
    }
    let replaces = BTreeMap::from([
        (pointer.clone(), seen(&pointer)),
        (place(ANNOTATION_TRIGGER), annotation(ANNOTATION_TRIGGER)),
        (
            place(ANNOTATION_TRIGGER_TIME),
            annotation(ANNOTATION_TRIGGER_TIME),
        ),
    ]);
    let patch = PatchSpec {
        kind: Kind::PortfolioApp,
        name: object.name.clone(),
        uid: object.uid.clone(),
        resource_version: object.resource_version.clone(),
        replaces,
        spec: json!({ field: value }),
        annotations,
    };
    let key = format!("{ACTION}{}", trigger.verb.label());
    draft.push(key, &trigger.id, Action::PatchSpec(patch));
    draft
}

/// Whether it is neither applied nor older than what is.
fn is_news(object: &LiveObject, trigger: &Trigger) -> bool {
    object.annotations.get(ANNOTATION_TRIGGER) != Some(&trigger.id)
        && !known_beside(object).contains(&trigger.id)
        && last_time(object).is_none_or(|last| trigger.time >= last)
}

fn last_time(object: &LiveObject) -> Option<Timestamp> {
    let last = object.annotations.get(ANNOTATION_TRIGGER_TIME)?;
    last.parse().ok()
}

fn known_beside(object: &LiveObject) -> Vec<String> {
    let list = object.annotations.get(ANNOTATION_TRIGGERS_BESIDE);
    list.and_then(|list| serde_json::from_str(list).ok())
        .unwrap_or_default()
}

/// The applied triggers of the very time of this one: a repeated one of them is no news, though it is not older.
fn beside(object: &LiveObject, trigger: &Trigger) -> Vec<String> {
    if last_time(object) != Some(trigger.time) {
        return Vec::new();
    }
    let mut beside = known_beside(object);
    beside.extend(object.annotations.get(ANNOTATION_TRIGGER).cloned());
    beside.drain(..beside.len().saturating_sub(MOST_BESIDE));
    beside
}

/// A restart marker from an id; the field holds 64 characters.
fn marker(id: &str) -> String {
    if id.len() <= 64 && !id.is_empty() {
        return id.to_owned();
    }
    signalbox_common::digest::short_of_json(&id, 32)
}
