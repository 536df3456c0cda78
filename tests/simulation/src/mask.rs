//! Which fields of an end state may differ between two runs of the same flow: all of them stand here.
//!
//! What is named here is never compared; everything else must be equal.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::store::Place;

/// Kinds that are no part of a state: who leads, and what people read.
const KINDS: [&str; 2] = ["Lease", "Event"];

/// Fields, wherever they are: identities, versions, times, authors.
const FIELDS: [&str; 21] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "observedGeneration",
    "lastTransitionTime",
    "startedAt",
    "progressedAt",
    "progressedReady",
    "stepReachedAt",
    "promotedAt",
    "finishedAt",
    "reconcileId",
    // After a restart nobody knows any more who asked.
    "actor",
    "signalbox.dev/owner-uid",
    "signalbox.dev/reconcile-id",
    // Only where a plan was interrupted.
    "signalbox.dev/fence",
    // Over the whole configuration, uids included.
    "signalbox.dev/applied",
    "nextWake",
    "appliedAt",
    "effectMs",
];

/// A state without what may differ, by place.
#[must_use]
pub fn masked(state: &BTreeMap<Place, Value>) -> BTreeMap<String, Value> {
    state
        .iter()
        .filter(|(place, _)| !KINDS.contains(&place.resource.kind))
        .map(|(place, object)| (place.to_string(), without(object)))
        .collect()
}

fn without(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !FIELDS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), without(value)))
            // What had nothing but masked fields is as if it were not there.
            .filter(|(name, value)| name != "annotations" || *value != json!({}))
            .collect(),
        Value::Array(items) => items.iter().map(without).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// What differs between two masked states, one line an object.
#[must_use]
pub fn differences(
    expected: &BTreeMap<String, Value>,
    found: &BTreeMap<String, Value>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, object) in expected {
        match found.get(place) {
            None => lines.push(format!("{place} is missing")),
            Some(other) => compare(place, object, other, &mut lines),
        }
    }
    let more = found.keys().filter(|place| !expected.contains_key(*place));
    lines.extend(more.map(|place| format!("{place} is there")));
    lines
}

fn compare(at: &str, expected: &Value, found: &Value, lines: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let mut names: Vec<&String> = expected.keys().chain(found.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let of = |fields: &serde_json::Map<String, Value>| {
                    fields.get(name).cloned().unwrap_or(Value::Null)
                };
                compare(&format!("{at}/{name}"), &of(expected), &of(found), lines);
            }
        }
        (expected, found) if expected == found => {}
        (expected, found) => lines.push(format!("{at}: {found} instead of {expected}")),
    }
}
