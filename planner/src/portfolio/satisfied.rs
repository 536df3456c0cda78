//! Whether a live child is as wanted, and if not, how to bring it there.
//!
//! Compares every wanted leaf and whatever other managers own beside it; never knows a kind's meaning.

use serde_json::Value;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::LiveObject;
use signalbox_common::wire::action::ApplyMode;
use signalbox_crds::names;

use super::children::Wanted;

/// Paths that the server or its controllers own in a child, by kind.
fn is_assigned(kind: ChildKind, path: &[String]) -> bool {
    let at = |index: usize| path.get(index).map(String::as_str);
    match kind {
        ChildKind::Service => matches!(
            at(1),
            Some(
                "f:clusterIP"
                    | "f:clusterIPs"
                    | "f:ipFamilies"
                    | "f:ipFamilyPolicy"
                    | "f:healthCheckNodePort"
            )
        ),
        ChildKind::PersistentVolumeClaim => {
            matches!(at(1), Some("f:volumeName" | "f:storageClassName"))
        }
        ChildKind::Deployment => at(0) == Some("f:spec") && at(1) == Some("f:replicas"),
        ChildKind::ConfigMap
        | ChildKind::HorizontalPodAutoscaler
        | ChildKind::PodDisruptionBudget => false,
    }
}

/// How the live child becomes the wanted one; none: it is.
pub(crate) fn mend(live: &LiveObject, wanted: &Wanted) -> Option<ApplyMode> {
    let uid = live.uid.clone();
    let resource_version = live.resource_version.clone();
    let seen = Some(live.basis());
    let foreign = live
        .foreign
        .iter()
        .any(|path| !is_assigned(wanted.kind, path) && leftover(&wanted.object, path));
    if foreign {
        return Some(ApplyMode::Replace {
            uid,
            resource_version,
            seen,
        });
    }
    (!is_as_wanted(live, wanted)).then_some(ApplyMode::Apply {
        uid,
        resource_version,
        seen,
    })
}

fn is_as_wanted(live: &LiveObject, wanted: &Wanted) -> bool {
    let hash = wanted
        .object
        .pointer("/metadata/annotations")
        .and_then(|a| a.get(names::ANNOTATION_APPLIED));
    let same_hash = live
        .annotations
        .get(names::ANNOTATION_APPLIED)
        .map(String::as_str)
        == hash.and_then(Value::as_str);
    let labels = wanted
        .object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let same_labels = labels.is_none_or(|labels| {
        labels
            .iter()
            .all(|(key, value)| live.labels.get(key).map(String::as_str) == value.as_str())
    });
    let owners = wanted
        .object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let same_owner = owners.is_none_or(|owners| {
        owners.iter().all(|owner| {
            live.owners
                .iter()
                .any(|o| Some(o.uid.as_str()) == owner["uid"].as_str() && o.controller)
        })
    });
    let content = |key: &str| {
        let want = wanted.object.get(key);
        want.is_none_or(|want| {
            live.content
                .get(key)
                .is_some_and(|found| covers(want, found))
        })
    };
    // The data of a `ConfigMap` without any is absent.
    let no_extra_data = wanted.kind != ChildKind::ConfigMap
        || keys(wanted.object.get("data")) == keys(live.content.get("data"));
    same_hash && same_labels && same_owner && content("data") && content("spec") && no_extra_data
}

fn keys(data: Option<&Value>) -> Vec<&String> {
    data.and_then(Value::as_object)
        .map(|d| d.keys().collect())
        .unwrap_or_default()
}

/// Whether every leaf of `wanted` stands in `found`.
fn covers(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        // Selectors, labels, quantities: the server adds nothing to a map of strings, so neither may others.
        (Value::Object(wanted), Value::Object(found))
            if !wanted.is_empty() && wanted.values().all(Value::is_string) =>
        {
            wanted == found
        }
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().all(|(key, value)| {
            // Replicas are compared apart, and asked for by Scale.
            key == "replicas" || found.get(key).is_some_and(|f| covers(value, f))
        }),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(w, f)| covers(w, f))
        }
        (wanted, found) => wanted == found,
    }
}

/// Whether a path that somebody else owns leads out of what is wanted.
fn leftover(wanted: &Value, path: &[String]) -> bool {
    let mut at = Some(wanted);
    for part in path {
        let Some(here) = at else { return true };
        at = if let Some(field) = part.strip_prefix("f:") {
            here.get(field)
        } else if let Some(key) = part.strip_prefix("k:") {
            let Ok(key) = serde_json::from_str::<Value>(key) else {
                return true;
            };
            let item = |item: &&Value| {
                key.as_object()
                    .is_some_and(|key| key.iter().all(|(k, v)| item.get(k) == Some(v)))
            };
            here.as_array().and_then(|items| items.iter().find(item))
        } else if let Some(value) = part.strip_prefix("v:") {
            let Ok(value) = serde_json::from_str::<Value>(value) else {
                return true;
            };
            here.as_array()
                .and_then(|items| items.iter().find(|i| **i == value))
        } else {
            // "." is the item itself; an index names a place of an atomic list.
            Some(here)
        };
    }
    at.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(parts: &[&str]) -> Vec<String> {
        parts.iter().map(|p| (*p).to_owned()).collect()
    }

    #[test]
    fn a_foreign_path_outside_the_wanted_is_a_leftover() {
        let wanted =
            json!({"spec": {"ports": [{"port": 8080, "protocol": "TCP", "name": "http"}]}});
        let key = |port: u16| format!("k:{{\"port\":{port},\"protocol\":\"TCP\"}}");
        assert!(leftover(
            &wanted,
            &path(&["f:spec", "f:ports", &key(99), "f:port"])
        ));
        assert!(!leftover(
            &wanted,
            &path(&["f:spec", "f:ports", &key(8080), "f:port"])
        ));
        assert!(!leftover(
            &wanted,
            &path(&["f:spec", "f:ports", &key(8080), "."])
        ));
        assert!(leftover(&wanted, &path(&["f:spec", "f:externalName"])));
    }

    #[test]
    fn more_fields_that_the_server_wrote_do_not_matter() {
        assert!(covers(
            &json!({"a": [{"b": 1}]}),
            &json!({"a": [{"b": 1, "c": 2}], "d": 3})
        ));
        assert!(!covers(
            &json!({"a": [{"b": 1}]}),
            &json!({"a": [{"b": 2}]})
        ));
        assert!(!covers(&json!({"a": [1]}), &json!({"a": [1, 2]})));
        assert!(covers(&json!({"replicas": 2}), &json!({"replicas": 7})));
    }
}
