//! Every field that Signalbox owns, found in the live objects' managed fields: whatever is made of it, it is restored.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kube::api::PostParams;
use serde_json::{Value, json};
use signalbox_crds::names::MANAGER;
use signalbox_tests::figures::{figure, figures, held_to};
use signalbox_tests::fixtures::app;
use signalbox_tests::{Objects, eventually};

use crate::drift::EVERYTHING;
use crate::{SOON, shared};

/// Apps that share the work: one object's flights are paced.
const LANES: usize = 4;
/// The p95 of a restoration.
const BAR: Duration = Duration::from_secs(5);

/// Paths, in the keys of `fieldsV1`, of the leaves that our manager owns.
fn owned(object: &Value) -> Vec<Vec<String>> {
    fn walk(fields: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let fields = fields.as_object().into_iter().flatten();
        for (step, below) in fields.filter(|(step, _)| *step != ".") {
            path.push(step.clone());
            if below.as_object().is_some_and(serde_json::Map::is_empty) {
                found.push(path.clone());
            } else {
                walk(below, path, found);
            }
            path.pop();
        }
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    let mut found = Vec::new();
    for entry in entries.iter().filter(|entry| entry["manager"] == MANAGER) {
        walk(&entry["fieldsV1"], &mut Vec::new(), &mut found);
    }
    found.sort();
    found.dedup();
    found
}

/// The JSON pointer of a path in an object; none: it is not there.
fn pointer(object: &Value, path: &[String]) -> Option<String> {
    let (mut at, mut pointer) = (object, String::new());
    for step in path {
        let (sort, name) = step.split_once(':')?;
        let next = match sort {
            "f" => name.replace('~', "~0").replace('/', "~1"),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(name).ok()?;
                let is_it = |item: &Value| keys.iter().all(|(key, value)| item[key] == *value);
                at.as_array()?.iter().position(is_it)?.to_string()
            }
            _ => return None,
        };
        pointer = format!("{pointer}/{next}");
        at = object.pointer(&pointer)?;
    }
    Some(pointer)
}

/// What else may stand there, the likeliest first; what the server refuses is not tried further.
fn others(field: &str, value: &Value) -> Vec<Value> {
    let enums: &[&str] = match field {
        "imagePullPolicy" => &["Always"],
        "protocol" => &["UDP"],
        "dnsPolicy" => &["Default"],
        "terminationMessagePolicy" => &["FallbackToLogsOnError"],
        "sessionAffinity" => &["ClientIP"],
        "internalTrafficPolicy" => &["Local"],
        "type" => &["NodePort", "OnDelete"],
        "scheme" => &["HTTPS"],
        _ => &[],
    };
    let mut others: Vec<Value> = enums.iter().map(|other| json!(other)).collect();
    match value {
        Value::Number(number) => {
            let number = number.as_i64().unwrap();
            others.extend([json!(number + 1), json!(number - 1)]);
        }
        Value::Bool(is) => others.push(json!(!is)),
        Value::String(text) if text.ends_with('%') => others.push(json!("50%")),
        Value::String(text) => {
            others.extend([
                json!("7"),
                json!(format!("{text}x")),
                json!(format!("{text}/x")),
            ]);
        }
        Value::Object(fields) => {
            let with = |key: &str, more: Value| {
                let mut fields = fields.clone();
                fields.insert(key.to_owned(), more);
                Value::Object(fields)
            };
            others.extend([
                with("runAsNonRoot", json!(true)),
                with("limits", json!({"memory": "1Gi"})),
                with("other", json!("x")),
            ]);
        }
        Value::Array(items) => {
            others.extend(items.first().map(|first| json!([first, first])));
            others.push(json!(["other"]));
            let mut changed = value.clone();
            if let Some(target) = changed.pointer_mut("/0/resource/target/averageUtilization") {
                *target = json!(11);
                others.push(changed);
            }
        }
        Value::Null => {}
    }
    others
}

/// Puts another value where a pointer leads.
fn with(mut object: Value, pointer: &str, other: &Value) -> Value {
    if let Some(value) = object.pointer_mut(pointer) {
        other.clone_into(value);
    }
    object
}

/// Takes what a pointer names out of an object.
fn without(mut object: Value, pointer: &str) -> Value {
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let last = last.replace("~1", "/").replace("~0", "~");
    match object.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(&last)),
        Some(Value::Array(items)) => drop(items.remove(last.parse().unwrap())),
        _ => {}
    }
    object
}

/// One app's children, and what came of what was done to them.
struct Lane {
    objects: Objects,
    app: String,
    times: Vec<Duration>,
    refused: Vec<String>,
}

impl Lane {
    /// Writes a leaf as anybody could (none: takes it away); the value that it had. None: the server refuses, or
    /// nothing is changed by it.
    async fn write(
        &self,
        (kind, name): (&str, &str),
        path: &[String],
        other: Option<&Value>,
    ) -> Option<Value> {
        let params = PostParams {
            field_manager: Some("somebody".to_owned()),
            ..Default::default()
        };
        // The controllers write too: what they were faster with is read again.
        for _ in 0..20 {
            let live = self.objects.find(kind, name).await.unwrap_or_default();
            let Some(pointer) = pointer(&live, path) else {
                tokio::task::yield_now().await;
                continue;
            };
            let was = live.pointer(&pointer)?.clone();
            let object = match other {
                None => without(live, &pointer),
                Some(other) => with(live, &pointer, other),
            };
            let object = serde_json::from_value(object).unwrap();
            let written = self.objects.api(kind).replace(name, &params, &object).await;
            match written {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(_) => return None,
                Ok(written) => {
                    let written = serde_json::to_value(written).unwrap();
                    let is = written.pointer(&pointer).unwrap_or(&Value::Null);
                    return (*is != was).then_some(was);
                }
            }
        }
        None
    }

    /// Waits until the leaf is what it was, in an object that stays.
    async fn restored(&mut self, kind: &str, name: &str, path: &[String], was: &Value, how: &str) {
        let begun = Instant::now();
        let what = format!("{kind} {name} {path:?}: {how}, and restored");
        eventually(&what, SOON, || async {
            let live = self.objects.find(kind, name).await.unwrap_or_default();
            let found = pointer(&live, path).and_then(|pointer| live.pointer(&pointer).cloned());
            let goes = live["metadata"]["deletionTimestamp"].is_string();
            if found.as_ref() == Some(was) && !goes {
                return Ok(());
            }
            let status = self.objects.get("papp", &self.app).await["status"].clone();
            Err(format!("{found:?}, not {was}; {status}"))
        })
        .await;
        self.times.push(begun.elapsed());
    }

    /// Changes one leaf to what the server takes, then takes it away.
    async fn stomp(&mut self, kind: &str, name: &str, path: &[String]) {
        let live = self.objects.get(kind, name).await;
        let value = pointer(&live, path).and_then(|pointer| live.pointer(&pointer).cloned());
        let field = path.last().unwrap().trim_start_matches("f:");
        let others = value.map_or_else(Vec::new, |value| others(field, &value));
        let before = self.times.len();
        for other in &others {
            if let Some(was) = self.write((kind, name), path, Some(other)).await {
                let how = format!("set to {other}");
                self.restored(kind, name, path, &was, &how).await;
                break;
            }
        }
        if let Some(was) = self.write((kind, name), path, None).await {
            self.restored(kind, name, path, &was, "removed").await;
        }
        if self.times.len() == before {
            self.refused.push(format!("{kind} {}", path.join(" ")));
        }
    }

    /// Labels stomped, owners taken away, and deletion.
    async fn rob(&mut self, kind: &str, name: &str) {
        // A claim has no owner, without all its labels it is nobody's; and Kubernetes keeps one that pods use.
        if kind == "pvc" {
            return;
        }
        for (field, label) in [("labels", "labels"), ("ownerReferences", "owners")] {
            let live = self.objects.get(kind, name).await;
            let path = ["f:metadata".to_owned(), format!("f:{field}")];
            let was = live["metadata"][field].clone();
            if was.is_null() {
                continue;
            }
            let none = json!({"metadata": {field: null}});
            self.objects.patch(kind, name, none).await;
            let how = format!("all {label} taken");
            self.restored(kind, name, &path, &was, &how).await;
        }
        let uid = self.objects.get(kind, name).await["metadata"]["uid"].clone();
        self.objects.delete(kind, name).await;
        let begun = Instant::now();
        eventually(&format!("{kind} {name} is back"), SOON, || async {
            match self.objects.find(kind, name).await {
                Some(live) if live["metadata"]["uid"] != uid => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        self.times.push(begun.elapsed());
    }
}

/// The part of all that falls to one lane.
async fn lane(objects: Objects, number: usize) -> (Lane, usize) {
    let app = format!("orders-{number}");
    let current = objects.becomes_ready(&app).await;
    let revision = format!("{app}-{}", current["status"]["stable"].as_str().unwrap());
    let mut lane = Lane {
        objects,
        app: app.clone(),
        times: Vec::new(),
        refused: Vec::new(),
    };
    let children = [
        ("deployment", &revision),
        ("service", &app),
        ("configmap", &revision),
        ("hpa", &app),
        ("pdb", &app),
        ("pvc", &app),
    ];
    let mut leaves = 0;
    for (place, (kind, name)) in children.into_iter().enumerate() {
        let owned = owned(&lane.objects.get(kind, name).await);
        assert!(owned.len() >= 5, "{kind}: {owned:?}");
        for path in owned.iter().skip(number).step_by(LANES) {
            lane.stomp(kind, name, path).await;
            leaves += 1;
        }
        if place % LANES == number {
            lane.rob(kind, name).await;
        }
    }
    lane.objects.becomes_ready(&app).await;
    (lane, leaves)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_owned_field_is_restored() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let documents: Vec<String> = (0..LANES)
        .map(|number| {
            let name = format!("orders-{number}");
            app(&objects.namespace, &name, "example/orders:1", EVERYTHING)
        })
        .collect();
    shared.world.apply(&documents.join("---")).await;
    let lanes = (0..LANES).map(|number| lane(objects.clone(), number));
    let lanes = futures::future::join_all(lanes).await;
    let (mut times, mut refused, mut leaves) = (Vec::new(), Vec::new(), 0);
    for (lane, count) in lanes {
        times.extend(lane.times);
        refused.extend(lane.refused);
        leaves += count;
    }
    println!(
        "{leaves} owned leaves, {} restorations; {} can't be changed by anybody: {refused:#?}",
        times.len(),
        refused.len()
    );
    assert!(leaves > 80 && times.len() > leaves, "{leaves} leaves");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    figure("drift-owned-leaves", leaves as f64, "fields");
    let p95 = figures("drift-restored", &times);
    assert!(p95 <= held_to(BAR), "{times:?}");
}
