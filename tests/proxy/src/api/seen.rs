//! What watches told of each object last, so that a trace can say what an event changed.
//!
//! Decides which fields count: never those that only tell that something was written, or when.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// Fields that differ with each write or run.
const LEFT_OUT: [&str; 8] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "observedGeneration",
    "uid",
    "creationTimestamp",
    "kubectl.kubernetes.io/last-applied-configuration",
    "renewTime",
];
/// The field that an object's coming and going changes.
const EXISTENCE: &str = "*";

/// Fields of an object by their path.
type Fields = BTreeMap<String, Value>;

/// All objects that watches told of.
#[derive(Default)]
pub(crate) struct Seen {
    objects: Mutex<HashMap<String, Fields>>,
}

impl Seen {
    /// Takes an event in; the paths of the fields that it changed. What is gone changes all.
    pub(crate) fn changes(&self, kind: &str, about: &str, object: &Value) -> Vec<String> {
        if kind == "BOOKMARK" || kind == "ERROR" {
            return Vec::new();
        }
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let before = objects.remove(about).unwrap_or_default();
        let mut after = Fields::new();
        if kind != "DELETED" {
            after.insert(EXISTENCE.to_owned(), Value::Null);
            flatten("", object, &mut after);
            objects.insert(about.to_owned(), after.clone());
        }
        drop(objects);
        let mut changed: Vec<String> = before
            .keys()
            .chain(after.keys())
            .filter(|path| before.get(*path) != after.get(*path))
            .cloned()
            .collect();
        if kind == "DELETED" {
            // Of what was never seen only this is known.
            changed.push(EXISTENCE.to_owned());
        }
        changed.sort();
        changed.dedup();
        changed
    }
}

fn flatten(path: &str, value: &Value, into: &mut Fields) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                if !LEFT_OUT.contains(&field.as_str()) {
                    flatten(&format!("{path}/{field}"), value, into);
                }
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path}/{index}"), value, into);
            }
        }
        Value::String(text) if is_time(text) => {}
        leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            into.insert(path.to_owned(), leaf.clone());
        }
    }
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.get(10..11) == Some("T") && text.ends_with('Z')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_says_what_it_changed() {
        let seen = Seen::default();
        let object = |version: &str, size: u32, time: &str| json!({"metadata": {"resourceVersion": version}, "spec": {"size": size}, "at": time});
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        let changes = |kind: &str, object: &Value| seen.changes(kind, "a", object);
        assert_eq!(
            changes("ADDED", &object("1", 1, early)),
            ["*", "/spec/size"]
        );
        assert!(changes("MODIFIED", &object("2", 1, late)).is_empty());
        assert_eq!(changes("MODIFIED", &object("3", 2, late)), ["/spec/size"]);
        assert_eq!(
            changes("DELETED", &object("4", 2, late)),
            ["*", "/spec/size"]
        );
        assert_eq!(changes("ADDED", &object("5", 2, late)).len(), 2);
        assert!(changes("BOOKMARK", &json!({})).is_empty());
    }
}
