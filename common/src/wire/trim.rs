//! Trimming: from a full object of the API server to what may travel.
//!
//! Decides what of an object the planner may see; never what it means. A Secret never becomes a
//! [`LiveObject`], and long texts become size and hash.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_crds::names::MANAGER;

use super::live::{LiveObject, Owner};
use crate::digest::sha256_hex;
use crate::kinds::{ChildKind, HASHED_TEXTS, Kind};

/// Suffix of the domain whose annotations are kept.
const DOMAIN: &str = "signalbox.dev";
/// Fields of a Deployment's status that are kept, beside its conditions.
const DEPLOYMENT_STATUS: [&str; 6] = [
    "replicas",
    "readyReplicas",
    "availableReplicas",
    "updatedReplicas",
    "unavailableReplicas",
    "observedGeneration",
];
/// Fields of a condition that are kept.
const CONDITION: [&str; 3] = ["type", "status", "reason"];

/// The trimmed form of a full object (with `kind` and `metadata`).
///
/// None for a Secret, and for what is no stored object: without kind, name, uid, version or time of creation.
#[must_use]
pub fn trim(object: Value) -> Option<LiveObject> {
    let kind = text(&object, "kind")?.to_owned();
    trim_as(&kind, object)
}

/// The same for an object whose `kind` the server left out, as it does in lists.
#[must_use]
pub fn trim_as(kind: &str, object: Value) -> Option<LiveObject> {
    if kind == "Secret" {
        return None;
    }
    let ours = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let metadata = object.get("metadata")?;
    Some(LiveObject {
        kind: kind.to_owned(),
        name: text(metadata, "name")?.to_owned(),
        uid: text(metadata, "uid")?.to_owned(),
        resource_version: text(metadata, "resourceVersion")?.to_owned(),
        generation: metadata.get("generation").and_then(Value::as_i64),
        created_at: time(metadata, "creationTimestamp")?,
        deleted_at: time(metadata, "deletionTimestamp"),
        labels: texts(metadata.get("labels"), |_| true),
        annotations: texts(metadata.get("annotations"), is_our_domain),
        owners: owners(metadata),
        finalizers: strings(metadata.get("finalizers")),
        // Of our own kinds the whole spec is somebody else's by nature.
        foreign: if ours.is_some() {
            Vec::new()
        } else {
            foreign(metadata)
        },
        content: content(kind, ours, object),
    })
}

fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field).and_then(Value::as_str)
}

fn time(value: &Value, field: &str) -> Option<Timestamp> {
    text(value, field)?.parse().ok()
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn texts(map: Option<&Value>, keep: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries
        .filter(|(key, _)| keep(key))
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// Whether an annotation's key is of `signalbox.dev` or a domain below it.
fn is_our_domain(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    prefix
        .strip_suffix(DOMAIN)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn owners(metadata: &Value) -> Vec<Owner> {
    let list = metadata
        .get("ownerReferences")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    list.filter_map(|owner| {
        Some(Owner {
            kind: text(owner, "kind")?.to_owned(),
            name: text(owner, "name")?.to_owned(),
            uid: text(owner, "uid")?.to_owned(),
            controller: owner
                .get("controller")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    })
    .collect()
}

/// Sorted paths of what other managers (or ours by an Update) own of spec, data, labels and owners.
fn foreign(metadata: &Value) -> Vec<Vec<String>> {
    const ROOTS: [&[&str]; 5] = [
        &["f:spec"],
        &["f:data"],
        &["f:binaryData"],
        &["f:metadata", "f:labels"],
        &["f:metadata", "f:ownerReferences"],
    ];
    let mut paths = Vec::new();
    let entries = metadata
        .get("managedFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for entry in entries {
        let of_subresource = text(entry, "subresource").is_some_and(|name| !name.is_empty());
        let applied_by_us =
            text(entry, "manager") == Some(MANAGER) && text(entry, "operation") == Some("Apply");
        let Some(fields) = entry.get("fieldsV1") else {
            continue;
        };
        if of_subresource || applied_by_us {
            continue;
        }
        for root in ROOTS {
            if let Some(tree) = root.iter().try_fold(fields, |at, step| at.get(*step)) {
                let mut path = root.iter().map(|&step| step.to_owned()).collect();
                leaves(tree, &mut path, &mut paths);
            }
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Adds the paths of all leaves below `path`; an item of a list (`k:`, `v:`) that is owned as such counts as one.
fn leaves(tree: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let Some(fields) = tree.as_object().filter(|fields| !fields.is_empty()) else {
        found.push(path.clone());
        return;
    };
    for (key, below) in fields {
        if key == "." {
            if path
                .last()
                .is_some_and(|last| last.starts_with("k:") || last.starts_with("v:"))
            {
                found.push(path.clone());
            }
            continue;
        }
        path.push(key.clone());
        leaves(below, path, found);
        path.pop();
    }
}

fn content(kind: &str, ours: Option<Kind>, object: Value) -> Value {
    let mut content = Map::new();
    let Value::Object(fields) = object else {
        return Value::Object(content);
    };
    for (field, value) in fields {
        match field.as_str() {
            "apiVersion" | "kind" | "metadata" => {}
            "status" if ours.is_none() => {
                if let Some(status) = child_status(kind, &value) {
                    content.insert(field, status);
                }
            }
            _ => {
                content.insert(field, value);
            }
        }
    }
    let mut content = Value::Object(content);
    if let Some(kind) = ours {
        hash_texts(kind, &mut content);
    }
    content
}

/// What of a child's status is kept.
fn child_status(kind: &str, status: &Value) -> Option<Value> {
    match ChildKind::parse(kind)? {
        ChildKind::Deployment => {
            let mut kept = picked(status, &DEPLOYMENT_STATUS);
            if let Some(conditions) = status.get("conditions").and_then(Value::as_array) {
                let conditions = conditions
                    .iter()
                    .map(|one| Value::Object(picked(one, &CONDITION)))
                    .collect();
                kept.insert("conditions".to_owned(), Value::Array(conditions));
            }
            Some(Value::Object(kept))
        }
        ChildKind::PersistentVolumeClaim => Some(Value::Object(picked(status, &["phase"]))),
        ChildKind::ConfigMap
        | ChildKind::Service
        | ChildKind::HorizontalPodAutoscaler
        | ChildKind::PodDisruptionBudget => None,
    }
}

fn picked(from: &Value, fields: &[&str]) -> Map<String, Value> {
    let value = |field: &&str| Some(((*field).to_owned(), from.get(*field)?.clone()));
    fields.iter().filter_map(value).collect()
}

/// Replaces every text of [`HASHED_TEXTS`] by its size and hash.
fn hash_texts(kind: Kind, content: &mut Value) {
    for hashed in HASHED_TEXTS.iter().filter(|hashed| hashed.kind == kind) {
        let entries = content
            .pointer_mut(hashed.list)
            .and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten() {
            if let Some(field) = entry.get_mut(hashed.field)
                && let Some(text) = field.as_str()
            {
                *field = json!({ "size": text.len(), "sha256": sha256_hex(text.as_bytes()) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Full;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": "web-1", "namespace": "team", "uid": "u1", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "labels": { "signalbox.dev/owner": "web", "x": "y" },
                "annotations": {
                    "signalbox.dev/applied": "abc", "serves.signalbox.dev/x": "1",
                    "notsignalbox.dev/x": "1", "kubectl.kubernetes.io/last": "{}",
                },
                "ownerReferences": [{ "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
                    "name": "web", "uid": "u0", "controller": true }],
                "managedFields": [
                    { "manager": "signalbox", "operation": "Apply",
                      "fieldsV1": { "f:spec": { "f:replicas": {} } } },
                    { "manager": "kubectl-edit", "operation": "Update", "fieldsV1": {
                      "f:spec": { "f:template": { "f:spec": { "f:containers": {
                        "k:{\"name\":\"web\"}": { ".": {}, "f:image": {} } } } } },
                      "f:metadata": { "f:labels": { ".": {}, "f:x": {} }, "f:annotations": { "f:a": {} } } } },
                    { "manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                      "fieldsV1": { "f:status": { "f:replicas": {} }, "f:spec": { "f:q": {} } } },
                    { "manager": "signalbox", "operation": "Update",
                      "fieldsV1": { "f:spec": { "f:paused": {} } } },
                ],
            },
            "spec": { "replicas": 2 },
            "status": { "replicas": 2, "collisionCount": 1, "conditions": [
                { "type": "Available", "status": "True", "reason": "Enough", "message": "long", "lastUpdateTime": "x" }] },
        })
    }

    #[test]
    fn a_deployment_keeps_what_plans_need() {
        let live = trim(deployment()).unwrap();
        assert_eq!(
            (live.kind.as_str(), live.generation),
            ("Deployment", Some(3))
        );
        assert_eq!(
            live.annotations.keys().collect::<Vec<_>>(),
            ["serves.signalbox.dev/x", "signalbox.dev/applied"]
        );
        assert_eq!(live.labels.len(), 2);
        assert!(live.is_owned_by("u0"));
        assert_eq!(
            live.content,
            json!({ "spec": { "replicas": 2 }, "status": { "replicas": 2, "conditions": [
                { "type": "Available", "status": "True", "reason": "Enough" }] } })
        );
    }

    #[test]
    fn foreign_fields_are_those_of_other_managers_and_of_our_updates() {
        let image = [
            "f:spec",
            "f:template",
            "f:spec",
            "f:containers",
            "k:{\"name\":\"web\"}",
        ];
        let mut of_image: Vec<String> = image.map(str::to_owned).to_vec();
        let item = of_image.clone();
        of_image.push("f:image".to_owned());
        let own = |path: &[&str]| path.iter().map(|&step| step.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            trim(deployment()).unwrap().foreign,
            [
                own(&["f:metadata", "f:labels", "f:x"]),
                own(&["f:spec", "f:paused"]),
                item,
                of_image
            ]
        );
    }

    #[test]
    fn other_children_have_no_status_and_a_claim_has_its_phase() {
        let of = |kind: &str| {
            let mut object = deployment();
            object["kind"] = json!(kind);
            object["status"] = json!({ "phase": "Bound", "loadBalancer": {} });
            trim(object).unwrap().content["status"].clone()
        };
        assert_eq!(of("Service"), Value::Null);
        assert_eq!(of("PersistentVolumeClaim"), json!({ "phase": "Bound" }));
        assert_eq!(
            of("PortfolioApp"),
            json!({ "phase": "Bound", "loadBalancer": {} })
        );
    }

    #[test]
    fn what_is_not_built_on_the_way_in_is_not_missed() {
        let Full(read) = serde_json::from_str(&deployment().to_string()).unwrap();
        assert_ne!(read, deployment());
        assert_eq!(trim(read), trim(deployment()));
    }

    #[test]
    fn sql_becomes_size_and_hash() {
        let mut object = deployment();
        object["kind"] = json!("DatabaseMigration");
        object["spec"] =
            json!({ "files": [{ "name": "V1.sql", "sql": "select 1" }, { "name": "V2.sql" }] });
        let live = trim(object).unwrap();
        assert_eq!(
            live.content["spec"]["files"],
            json!([
                { "name": "V1.sql", "sql": { "size": 8, "sha256": sha256_hex(b"select 1") } },
                { "name": "V2.sql" },
            ])
        );
        assert!(live.foreign.is_empty());
    }

    #[test]
    fn a_secret_and_what_is_no_object_are_nothing() {
        let mut object = deployment();
        object["kind"] = json!("Secret");
        assert_eq!(trim(object), None);
        assert_eq!(trim(json!({})), None);
        assert_eq!(
            trim(json!({ "kind": "Service", "metadata": { "name": "x" } })),
            None
        );
    }
}
