//! JSON as the server changes it: merge patches, applied configurations, what is compared.

use serde_json::{Map, Value};

/// RFC 7386: `null` removes, objects are merged, everything else is replaced.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(key);
        } else {
            merge(fields.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Server-side apply of a whole configuration by one manager, forced: what it sets is set, what it set
/// before and does not name any more is removed. A list counts as one value.
pub fn apply(target: &mut Value, before: Option<&Value>, configuration: &Value) {
    if let Some(before) = before {
        remove(target, before, configuration);
    }
    set(target, configuration);
}

fn set(target: &mut Value, configuration: &Value) {
    match (target.as_object_mut(), configuration.as_object()) {
        (Some(fields), Some(wanted)) => {
            for (key, value) in wanted {
                match fields.get_mut(key) {
                    Some(field) => set(field, value),
                    None => {
                        fields.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        _ => target.clone_from(configuration),
    }
}

fn remove(target: &mut Value, before: &Value, now: &Value) {
    let (Some(fields), Some(before)) = (target.as_object_mut(), before.as_object()) else {
        return;
    };
    for (key, old) in before {
        match now.get(key) {
            Some(new) => {
                if let Some(field) = fields.get_mut(key) {
                    remove(field, old, new);
                }
            }
            None if old.is_object() => {
                if let Some(field) = fields.get_mut(key) {
                    remove(field, old, &Value::Null);
                    if field.as_object().is_some_and(Map::is_empty) {
                        fields.remove(key);
                    }
                }
            }
            None => {
                fields.remove(key);
            }
        }
    }
}

/// Text at a pointer; empty: there is none.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number at a pointer.
#[must_use]
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// An object without some of its fields.
#[must_use]
pub fn without(object: &Value, names: &[&str]) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        for name in names {
            fields.remove(*name);
        }
    }
    object
}

/// Sets a field of `metadata`.
pub fn set_metadata(object: &mut Value, name: &str, value: Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    let metadata = fields
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if let Some(metadata) = metadata.as_object_mut() {
        if value.is_null() {
            metadata.remove(name);
        } else {
            metadata.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_apply_removes_only_what_it_had_set() {
        let mut live = json!({ "data": { "a": "1", "foreign": "x" }, "labels": { "l": "1" } });
        let before = json!({ "data": { "a": "1" }, "labels": { "l": "1" } });
        apply(&mut live, Some(&before), &json!({ "data": { "b": "2" } }));
        assert_eq!(live, json!({ "data": { "foreign": "x", "b": "2" } }));
    }
}
