//! Comparing, patching and writing JSON: pure.
//!
//! Decides nothing about Kubernetes but that an absent field and `null` are the same.

use serde_json::Value;

/// Whether every leaf of `wanted` stands in `live` with the same value. Lists must have the same length.
#[must_use]
pub fn contains(live: Option<&Value>, wanted: &Value) -> bool {
    match wanted {
        Value::Null => live.is_none_or(Value::is_null),
        Value::Object(fields) if fields.is_empty() => {
            live.is_none_or(|l| l.is_null() || l.is_object())
        }
        Value::Object(fields) => {
            let at = |key: &String| live.and_then(|l| l.get(key));
            fields.iter().all(|(key, value)| contains(at(key), value))
        }
        Value::Array(items) if items.is_empty() => {
            live.is_none_or(|l| l.is_null() || l.as_array().is_some_and(Vec::is_empty))
        }
        Value::Array(items) => live.and_then(Value::as_array).is_some_and(|live| {
            live.len() == items.len()
                && items
                    .iter()
                    .zip(live)
                    .all(|(item, live)| contains(Some(live), item))
        }),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => live == Some(wanted),
    }
}

/// A value's text: the one of its `Display`, without handing each piece to a formatter.
#[must_use]
pub fn text(value: &Value) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    // Into memory, with names that are strings, nothing fails.
    let _ = serde_json::to_writer(&mut text, value);
    text
}

/// RFC 7396: what `target` is after `patch`.
#[must_use]
pub fn merged(target: Option<&Value>, patch: &Value) -> Value {
    let Value::Object(changes) = patch else {
        return patch.clone();
    };
    let mut fields = target
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (key, change) in changes {
        if change.is_null() {
            fields.remove(key);
        } else {
            let value = merged(fields.get(key), change);
            fields.insert(key.clone(), value);
        }
    }
    Value::Object(fields)
}

/// Whether `patch` would change nothing in `target`.
#[must_use]
pub fn is_merged(target: Option<&Value>, patch: &Value) -> bool {
    let Value::Object(changes) = patch else {
        return target == Some(patch);
    };
    let Some(Value::Object(fields)) = target else {
        return false;
    };
    changes.iter().all(|(key, change)| match fields.get(key) {
        None => change.is_null(),
        Some(_) if change.is_null() => false,
        there @ Some(_) => is_merged(there, change),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_that_of_the_display() {
        let value = json!({"b": [1, -2.5, null, true], "a": {"\u{e9}\n\"": "\u{0}"}, "": []});
        assert_eq!(text(&value), value.to_string().into_bytes());
    }

    #[test]
    fn every_wanted_leaf_must_be_there() {
        let live = json!({"a": {"b": 1, "c": 2}, "l": [{"x": 1, "y": 2}]});
        for wanted in [
            json!({"a": {"b": 1}}),
            json!({"l": [{"x": 1}]}),
            json!({"n": null, "e": {}}),
        ] {
            assert!(contains(Some(&live), &wanted), "{wanted}");
        }
        for wanted in [
            json!({"a": {"b": 2}}),
            json!({"l": []}),
            json!({"l": [{"x": 1}, {}]}),
        ] {
            assert!(!contains(Some(&live), &wanted), "{wanted}");
        }
    }

    #[test]
    fn a_merge_patch_replaces_adds_and_removes() {
        let target = json!({"a": {"b": 1, "c": 2}, "l": [1]});
        let patch = json!({"a": {"b": null, "d": {"e": null, "f": 1}}, "l": [2]});
        let after = merged(Some(&target), &patch);
        assert_eq!(after, json!({"a": {"c": 2, "d": {"f": 1}}, "l": [2]}));
        assert!(is_merged(Some(&after), &patch));
        assert!(!is_merged(Some(&target), &patch));
        assert!(!is_merged(None, &patch));
    }

    #[test]
    fn merged_is_what_a_merge_leaves_alone() {
        let mut all = vec![json!(null), json!(1), json!("1"), json!([1]), json!({})];
        for _ in 0..2 {
            let inner = all.clone();
            all.extend(inner.iter().map(|value| json!({ "a": value })));
            all.extend(inner.iter().map(|value| json!({ "a": value, "b": 1 })));
        }
        for target in &all {
            for patch in &all {
                let alone = merged(Some(target), patch) == *target;
                assert_eq!(is_merged(Some(target), patch), alone, "{target} {patch}");
            }
        }
    }
}
