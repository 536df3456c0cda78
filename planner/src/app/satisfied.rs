//! Satisfied: whether a live child is as wanted, and if not, whether an apply can make it so.
//!
//! Decides for every child kind alike, from the desired configuration, the live object and the fields
//! that other managers own. Never decides on replicas: they are scaled apart.

use serde_json::Value;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::LiveObject;

use super::quantity;

/// How a live child compares with its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// Nothing to write.
    Satisfied,
    /// A forced apply brings it back.
    Apply,
    /// Somebody added what an apply can't remove, or edited a list's key: it is replaced.
    Replace,
}

/// Compares a live child with its complete configuration.
pub(super) fn fit(kind: ChildKind, desired: &Value, live: &LiveObject) -> Fit {
    if live
        .foreign
        .iter()
        .any(|path| !is_assigned(kind, path) && is_outside(desired, live, path))
    {
        return Fit::Replace;
    }
    if is_metadata_equal(desired, live)
        && is_content_equal(desired, live)
        && !is_altered(kind, desired, live)
    {
        Fit::Satisfied
    } else {
        Fit::Apply
    }
}

fn is_metadata_equal(desired: &Value, live: &LiveObject) -> bool {
    let texts = |pointer: &str| {
        let texts = desired.pointer(pointer).and_then(Value::as_object);
        texts.into_iter().flatten()
    };
    let has = |map: &std::collections::BTreeMap<String, String>, key: &str, value: &Value| {
        map.get(key).map(String::as_str) == value.as_str()
    };
    let owners = desired
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    texts("/metadata/labels").all(|(key, value)| has(&live.labels, key, value))
        && texts("/metadata/annotations").all(|(key, value)| has(&live.annotations, key, value))
        && owners.into_iter().flatten().all(|owner| {
            let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default();
            live.owners
                .iter()
                .any(|one| one.uid == uid && one.controller)
        })
}

fn is_content_equal(desired: &Value, live: &LiveObject) -> bool {
    let Some(fields) = desired.as_object() else {
        return true;
    };
    let content = fields
        .iter()
        .filter(|(key, _)| !["apiVersion", "kind", "metadata"].contains(&key.as_str()));
    content
        .into_iter()
        .all(|(key, wanted)| covers(key, wanted, live.content.get(key)))
}

/// Whether every leaf of `wanted` is in `found`; `field` is the name under which both stand.
fn covers(field: &str, wanted: &Value, found: Option<&Value>) -> bool {
    if is_nothing(wanted) && found.is_none_or(is_nothing) {
        return true;
    }
    let Some(found) = found else { return false };
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            let amounts = ["requests", "limits"].contains(&field);
            // Replicas of a Deployment are scaled apart.
            let is_scaled = |key: &str| (field, key) == ("spec", "replicas");
            let mut wanted = wanted.iter().filter(|(key, _)| !is_scaled(key));
            wanted.all(|(key, value)| {
                match (
                    amounts,
                    value.as_str(),
                    found.get(key).and_then(Value::as_str),
                ) {
                    (true, Some(a), Some(b)) => quantity::same(a, b),
                    (_, _, _) => covers(key, value, found.get(key)),
                }
            })
        }
        (Value::Array(wanted), Value::Array(found)) => match list_key(field, wanted) {
            Some(key) => wanted.iter().all(|item| {
                let id = item.get(key);
                found
                    .iter()
                    .find(|one| one.get(key) == id)
                    .is_some_and(|one| covers("", item, Some(one)))
            }),
            None => {
                wanted.len() == found.len()
                    && wanted
                        .iter()
                        .zip(found)
                        .all(|(a, b)| covers("", a, Some(b)))
            }
        },
        (_, _) => wanted == found,
    }
}

/// Null, an empty map and an empty list are what the server leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The key by which the items of a list are told apart; none: by position.
fn list_key(field: &str, items: &[Value]) -> Option<&'static str> {
    let key = match field {
        "volumeMounts" => "mountPath",
        "metrics" | "envFrom" | "items" => return None,
        _ => "name",
    };
    items
        .iter()
        .all(|item| item.get(key).is_some_and(Value::is_string))
        .then_some(key)
}

/// Fields that the server and the cluster's own controllers assign.
fn is_assigned(kind: ChildKind, path: &[String]) -> bool {
    let mut fields = path.iter().map(String::as_str);
    let (root, field) = (fields.next(), fields.next());
    if root == Some("f:metadata") && kind == ChildKind::PersistentVolumeClaim {
        // Provisioners and storage tools label claims.
        return field == Some("f:labels");
    }
    if root != Some("f:spec") {
        return false;
    }
    match kind {
        ChildKind::Deployment => field == Some("f:replicas"),
        ChildKind::Service => {
            let own = [
                "f:clusterIP",
                "f:clusterIPs",
                "f:ipFamilies",
                "f:ipFamilyPolicy",
            ];
            own.map(Some).contains(&field) || path.last().is_some_and(|last| last == "f:nodePort")
        }
        ChildKind::PersistentVolumeClaim => true,
        ChildKind::ConfigMap
        | ChildKind::HorizontalPodAutoscaler
        | ChildKind::PodDisruptionBudget => false,
    }
}

/// Whether a foreign path is in the live object but leads out of the configuration.
fn is_outside(desired: &Value, live: &LiveObject, path: &[String]) -> bool {
    walk(desired, path).is_none() && is_live(live, path)
}

/// Whether an atomic part (a selector, a list without keys) that somebody else wrote differs as a whole.
fn is_altered(kind: ChildKind, desired: &Value, live: &LiveObject) -> bool {
    live.foreign
        .iter()
        .filter(|path| !is_assigned(kind, path))
        .any(|path| {
            if path.first().is_some_and(|root| root == "f:metadata")
                || path.last().is_some_and(|l| l.starts_with("k:"))
            {
                return false;
            }
            match walk(desired, path) {
                Some(Value::Object(wanted)) => walk(&live.content, path)
                    .and_then(Value::as_object)
                    .is_some_and(|found| found.keys().any(|key| !wanted.contains_key(key))),
                Some(Value::Array(wanted)) => walk(&live.content, path)
                    .and_then(Value::as_array)
                    .is_some_and(|found| found.len() != wanted.len()),
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
                    false
                }
            }
        })
}

/// Whether what a path names still exists. Labels and owners are apart from the content.
fn is_live(live: &LiveObject, path: &[String]) -> bool {
    match path {
        [root, kind, key, ..] if root == "f:metadata" && kind == "f:labels" => key
            .strip_prefix("f:")
            .is_some_and(|key| live.labels.contains_key(key)),
        [root, ..] if root == "f:metadata" => true,
        _ => walk(&live.content, path).is_some(),
    }
}

/// The value at a path of `fieldsV1` keys.
fn walk<'v>(from: &'v Value, path: &[String]) -> Option<&'v Value> {
    path.iter().try_fold(from, |at, step| {
        let (sort, name) = step.split_once(':').unwrap_or(("", step.as_str()));
        match sort {
            "f" => at.get(name),
            "k" => {
                let keys: Value = serde_json::from_str(name).ok()?;
                let keys = keys.as_object()?;
                at.as_array()?
                    .iter()
                    .find(|item| keys.iter().all(|(key, value)| is_key(item, key, value)))
            }
            "v" => {
                let value: Value = serde_json::from_str(name).ok()?;
                at.as_array()?.iter().find(|item| **item == value)
            }
            "i" => at.get(name.parse::<usize>().ok()?),
            _ => Some(at),
        }
    })
}

/// Whether an item has a key's value; a protocol that is left out is TCP.
fn is_key(item: &Value, key: &str, value: &Value) -> bool {
    match item.get(key) {
        Some(found) => found == value,
        None => key == "protocol" && value == "TCP",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn desired() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "orders", "labels": {"a": "1"}, "annotations": {"signalbox.dev/applied": "x"},
                "ownerReferences": [{"uid": "u"}]},
            "spec": {"selector": {"s": "1"}, "replicas": 3,
                "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "1000m"}}},
        })
    }

    fn live(change: impl FnOnce(&mut LiveObject)) -> LiveObject {
        let mut live: LiveObject = serde_json::from_value(json!({
            "kind": "Service", "name": "orders", "uid": "1", "resourceVersion": "1",
            "createdAt": "2026-01-01T00:00:00Z", "labels": {"a": "1", "b": "2"},
            "annotations": {"signalbox.dev/applied": "x"},
            "owners": [{"kind": "PortfolioApp", "name": "orders", "uid": "u", "controller": true}],
            "content": {"spec": {"selector": {"s": "1"}, "clusterIP": "10.0.0.1", "replicas": 1,
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 1}],
                "resources": {"requests": {"cpu": "1"}}}},
        }))
        .unwrap();
        change(&mut live);
        live
    }

    fn foreign(path: &[&str]) -> Vec<Vec<String>> {
        vec![path.iter().map(|&step| step.to_owned()).collect()]
    }

    #[track_caller]
    fn check(wanted: Fit, change: impl FnOnce(&mut LiveObject)) {
        assert_eq!(fit(ChildKind::Service, &desired(), &live(change)), wanted);
    }

    #[test]
    fn what_the_server_adds_and_other_spellings_are_satisfied() {
        check(Fit::Satisfied, |_| {});
        check(Fit::Satisfied, |live| {
            live.foreign = foreign(&["f:spec", "f:clusterIP"]);
        });
        check(Fit::Satisfied, |live| {
            live.foreign = foreign(&[
                "f:spec",
                "f:ports",
                "k:{\"port\":80,\"protocol\":\"TCP\"}",
                "f:port",
            ]);
        });
    }

    #[test]
    fn every_edit_is_seen() {
        check(Fit::Apply, |live| live.labels.clear());
        check(Fit::Apply, |live| live.annotations.clear());
        check(Fit::Apply, |live| live.owners.clear());
        check(Fit::Apply, |live| {
            live.content["spec"]["selector"]["s"] = json!("2");
        });
        check(Fit::Apply, |live| live.content["spec"]["ports"] = json!([]));
        check(Fit::Apply, |live| {
            live.content["spec"]["resources"]["requests"]["cpu"] = json!("2");
        });
    }

    #[test]
    fn a_key_added_to_an_atomic_map_is_seen() {
        check(Fit::Apply, |live| {
            live.content["spec"]["selector"]["other"] = json!("x");
            live.foreign = foreign(&["f:spec", "f:selector"]);
        });
    }

    #[test]
    fn what_an_apply_cannot_remove_is_replaced() {
        check(Fit::Replace, |live| {
            live.foreign = foreign(&["f:metadata", "f:labels", "f:b"]);
        });
        check(Fit::Replace, |live| {
            live.content["spec"]["ports"] =
                json!([{"name": "http", "port": 99, "protocol": "TCP"}]);
            live.foreign = foreign(&[
                "f:spec",
                "f:ports",
                "k:{\"port\":99,\"protocol\":\"TCP\"}",
                "f:port",
            ]);
        });
        check(Fit::Replace, |live| {
            live.content["spec"]["extra"] = json!(true);
            live.foreign = foreign(&["f:spec", "f:extra"]);
        });
    }
}
