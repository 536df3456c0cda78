//! Status patches: only the fields that differ.
//!
//! Decides how two states of a status become a merge patch; never what a status should say.

use serde::Serialize;
use serde_json::{Map, Value};
use signalbox_common::digest;
use signalbox_common::wire::action::PatchStatus;
use signalbox_common::wire::{Action, LiveObject};

/// The action that turns the status `old` (as it was read) into `new`; none if they are the same.
pub(crate) fn patch<T>(object: &LiveObject, old: &T, new: &T) -> Option<Action>
where
    T: Serialize + PartialEq,
{
    if old == new {
        return None;
    }
    let old = serde_json::to_value(old).unwrap_or_default();
    let new = serde_json::to_value(new).unwrap_or_default();
    difference(&old, &new).map(|status| action(object, status))
}

/// The action that merges `status` into the object's status.
pub(crate) fn action(object: &LiveObject, status: Value) -> Action {
    Action::PatchStatus(PatchStatus {
        resource_version: object.resource_version.clone(),
        seen: seen(object),
        status,
    })
}

/// SHA-256 of the status that was seen.
pub(crate) fn seen(object: &LiveObject) -> String {
    digest::of_json(&object.at("/status").unwrap_or(&Value::Null))
}

/// The merge patch from `old` to `new`; none if they are equal.
pub(crate) fn difference(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Some(new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => patch.insert(key.clone(), value.clone()),
            Some(before) => {
                let Some(changed) = difference(before, value) else {
                    continue;
                };
                patch.insert(key.clone(), changed)
            }
        };
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_patched() {
        let old = json!({"a": 1, "b": {"c": 1, "d": 2}, "gone": [1], "list": [1, 2]});
        let new = json!({"a": 1, "b": {"c": 1, "d": 3}, "list": [1], "new": {}});
        let patch = json!({"b": {"d": 3}, "gone": null, "list": [1], "new": {}});
        assert_eq!(difference(&old, &new), Some(patch));
        assert_eq!(difference(&new, &new), None);
    }
}
