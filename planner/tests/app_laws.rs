//! Laws of an app's plans, over a small model of a cluster: they settle, also after a crash at any action;
//! capacity is never given away; the same observation gives the same bytes.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a broken law ends the test"
)]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::{Action, ApplyMode};
use signalbox_common::wire::trim::trim_as;
use signalbox_common::wire::{Cause, LiveObject, Observation, Verdict};
use signalbox_planner::plan;
use uuid::Uuid;

/// A cluster with one app, whose pods become ready unless their image is bad.
#[derive(Clone)]
struct Model {
    app: Value,
    children: BTreeMap<(String, String), Value>,
    now: Timestamp,
    version: u64,
    writes: usize,
}

impl Model {
    fn new(image: &str, replicas: i64) -> Self {
        let app = json!({
            "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
            "metadata": {
                "name": "orders", "namespace": "team", "uid": "uid-app", "resourceVersion": "1",
                "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {
                "image": image, "replicas": replicas, "ports": [{ "name": "http", "port": 8080 }],
                "rollout": { "steps": [{ "weight": 25, "pauseSeconds": 5 }, { "weight": 50 }],
                             "progressDeadlineSeconds": 60, "drainSeconds": 5 },
            },
            "status": { "observedGeneration": -1 },
        });
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        Self {
            app,
            children: BTreeMap::new(),
            now,
            version: 1,
            writes: 0,
        }
    }

    fn set(&mut self, patch: &Value) {
        merge(&mut self.app["spec"], patch);
        let generation = self.app["metadata"]["generation"].as_i64().unwrap();
        self.app["metadata"]["generation"] = json!(generation + 1);
    }

    fn live(kind: &str, object: &Value) -> LiveObject {
        trim_as(kind, object).unwrap()
    }

    fn observe(&self) -> Observation {
        Observation {
            reconcile_id: ReconcileId(Uuid::from_u128(u128::from(self.version))),
            cluster: "model".to_owned(),
            key: ObjectKey::new(Kind::PortfolioApp, "team", "orders"),
            uid: "uid-app".to_owned(),
            observed_at: self.now,
            cause: Cause::Resync,
            object: Some(Self::live("PortfolioApp", &self.app)),
            children: self
                .children
                .iter()
                .map(|((kind, _), o)| Self::live(kind, o))
                .collect(),
            linked: Vec::new(),
            leases: Vec::new(),
            outcome: None,
            interrupted: 0,
            absent: Vec::new(),
            blind: Vec::new(),
            too_large: false,
        }
    }

    /// Plans, and does up to `most` of the actions; false: there was nothing to do.
    fn round(&mut self, most: usize) -> bool {
        let seen = self.observe();
        let planned = plan(&seen);
        assert_eq!(
            serde_json::to_vec(&planned).unwrap(),
            serde_json::to_vec(&plan(&seen)).unwrap(),
            "the same observation gives the same bytes"
        );
        let Verdict::Act { actions } = planned.verdict else {
            return false;
        };
        for action in actions.into_iter().take(most) {
            self.version += 1;
            self.writes += 1;
            self.act(action.action);
        }
        true
    }

    fn act(&mut self, action: Action) {
        let version = json!(self.version.to_string());
        match action {
            Action::ApplyChild(apply) => {
                let key = (apply.kind.as_str().to_owned(), apply.name.clone());
                let mut object = apply.object;
                let before = self.children.get(&key);
                assert_eq!(
                    before.is_none(),
                    matches!(apply.mode, ApplyMode::Create),
                    "{key:?}"
                );
                let generation =
                    before.map_or(0, |b| b["metadata"]["generation"].as_i64().unwrap());
                let status = before.map_or(Value::Null, |b| b["status"].clone());
                object["metadata"]["uid"] = json!(format!("uid-{}-{}", key.0, key.1));
                object["metadata"]["creationTimestamp"] = json!(self.now.to_string());
                object["metadata"]["generation"] = json!(generation + 1);
                object["metadata"]["resourceVersion"] = version;
                if !status.is_null() {
                    object["status"] = status;
                }
                self.children.insert(key, object);
            }
            Action::Scale(scale) => {
                let object = self
                    .children
                    .get_mut(&("Deployment".to_owned(), scale.name))
                    .unwrap();
                object["spec"]["replicas"] = json!(scale.to);
                let generation = object["metadata"]["generation"].as_i64().unwrap();
                object["metadata"]["generation"] = json!(generation + 1);
                object["metadata"]["resourceVersion"] = version;
            }
            Action::DeleteChild(delete) => {
                self.children
                    .remove(&(delete.kind.as_str().to_owned(), delete.name));
            }
            Action::PatchStatus(patch) => {
                merge(&mut self.app["status"], &patch.status);
                self.app["metadata"]["resourceVersion"] = version;
            }
            Action::EmitEvent(_) => {}
            other => panic!("the model knows no {}", other.label()),
        }
    }

    /// What the Deployment controller and the nodes do.
    fn controllers(&mut self) {
        for ((kind, _), object) in &mut self.children {
            if kind != "Deployment" {
                continue;
            }
            let image = object["spec"]["template"]["spec"]["containers"][0]["image"]
                .as_str()
                .unwrap();
            let wanted = object["spec"]["replicas"].as_i64().unwrap();
            let ready = if image.contains("bad") { 0 } else { wanted };
            object["status"] = json!({
                "observedGeneration": object["metadata"]["generation"], "replicas": wanted,
                "readyReplicas": ready, "availableReplicas": ready, "updatedReplicas": wanted,
            });
        }
    }

    /// Available pods that the Service reaches.
    fn capacity(&self) -> i64 {
        let service = &self.children[&("Service".to_owned(), "orders".to_owned())];
        let selector = service["spec"]["selector"].as_object().unwrap();
        let reached = |object: &&Value| {
            let labels = &object["spec"]["template"]["metadata"]["labels"];
            selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        };
        let deployments = self
            .children
            .iter()
            .filter(|((kind, _), _)| kind == "Deployment");
        deployments
            .map(|(_, object)| object)
            .filter(reached)
            .map(|o| {
                o["status"]["availableReplicas"]
                    .as_i64()
                    .unwrap_or(0)
                    .min(o["spec"]["replicas"].as_i64().unwrap())
            })
            .sum()
    }

    /// Goes on until nothing is to be done and no time is waited for; `least`: capacity that is never given away.
    fn settle(&mut self, least: i64, crash_after: Option<usize>) {
        let mut crash = crash_after;
        for _ in 0..400 {
            let acted = self.round(crash.take().unwrap_or(usize::MAX));
            if least > 0 {
                assert!(
                    self.capacity() >= least,
                    "{} < {least}: {}",
                    self.capacity(),
                    self.app["status"]
                );
            }
            self.controllers();
            if acted {
                continue;
            }
            let wake = self.app["status"]["nextWake"]
                .as_str()
                .and_then(|t| t.parse::<Timestamp>().ok());
            match wake {
                Some(at) if at > self.now => self.now = at,
                Some(_) => self.now += SignedDuration::from_secs(1),
                None if self.round(usize::MAX) => {}
                None => return,
            }
        }
        panic!("it never settles: {}", self.app["status"]);
    }

    fn phase(&self) -> &str {
        self.app["status"]["phase"].as_str().unwrap_or_default()
    }
}

/// JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

#[test]
fn a_minimal_app_costs_four_writes() {
    let mut model = Model::new("example/orders:1", 2);
    assert!(model.round(usize::MAX));
    assert_eq!(model.writes, 4);
    assert!(
        !model.round(usize::MAX),
        "nothing is left until pods are ready"
    );
    model.controllers();
    assert!(model.round(usize::MAX));
    assert_eq!((model.writes, model.phase()), (5, "Ready"));
}

#[test]
fn a_good_revision_takes_over_without_giving_capacity_away() {
    let mut model = Model::new("example/orders:1", 4);
    model.settle(0, None);
    let before = model.app["status"]["stable"].clone();
    model.set(&json!({"image": "example/orders:2"}));
    model.settle(4, None);
    assert_eq!(model.phase(), "Ready");
    assert_ne!(model.app["status"]["stable"], before);
    assert_eq!(model.capacity(), 4);
}

#[test]
fn a_bad_revision_goes_back_and_is_not_tried_again() {
    let mut model = Model::new("example/orders:1", 4);
    model.settle(0, None);
    let before = model.app["status"]["stable"].clone();
    model.set(&json!({"image": "example/bad:2"}));
    model.settle(4, None);
    assert_eq!(model.phase(), "RolledBack");
    assert_eq!(model.app["status"]["stable"], before);
    model.set(&json!({"replicas": 5}));
    model.settle(4, None);
    assert_eq!((model.phase(), model.capacity()), ("RolledBack", 5));
    model.set(&json!({"image": "example/orders:3"}));
    model.settle(5, None);
    assert_eq!(model.phase(), "Ready");
}

/// What renderer 1 makes never changes: a change is another renderer, or an upgrade restarts every pod.
#[test]
fn renderer_1_is_frozen() {
    let mut model = Model::new("example/orders:1", 2);
    model.set(&json!({
        "command": ["/orders"], "args": ["serve"], "env": [{ "name": "MODE", "value": "fast" }, { "name": "EMPTY" }],
        "config": { "LEVEL": "info" }, "configMountPath": "/etc/orders",
        "resources": { "requests": { "cpu": "0.5" }, "limits": { "cpu": "1000m", "memory": "1024Mi" } },
        "probes": { "readiness": { "httpGet": { "port": 8080 }, "initialDelaySeconds": 2 },
                    "liveness": { "tcpSocket": { "port": 8080 } }, "startup": { "exec": { "command": ["true"] } } },
        "sidecars": [{ "name": "proxy", "image": "example/proxy" }],
        "storage": { "size": "1Gi", "mountPath": "/data" },
        "autoscaling": { "maxReplicas": 5 }, "disruptionBudget": { "minAvailable": "50%" },
    }));
    assert!(model.round(usize::MAX));
    let mut children: Vec<&Value> = model.children.values().collect();
    children.sort_by_key(|child| child["kind"].to_string());
    insta::assert_json_snapshot!(children);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any changes, with a crash after any action of the first plan of each: the end is that of a straight run.
    #[test]
    fn a_crash_at_any_action_reaches_the_same_end(
        changes in prop::collection::vec((0_u8..4, 1_i64..6, 0_usize..6), 1..5),
    ) {
        let mut straight = Model::new("example/orders:1", 3);
        let mut crashed = straight.clone();
        straight.settle(0, None);
        crashed.settle(0, Some(2));
        for (image, replicas, crash) in changes {
            // Three good images and a bad one.
            let name = if image == 3 { "example/bad:9".to_owned() } else { format!("example/orders:{image}") };
            let change = json!({"image": name, "replicas": replicas});
            straight.set(&change);
            crashed.set(&change);
            straight.settle(0, None);
            crashed.settle(0, Some(crash));
            prop_assert_eq!(&straight.app["status"]["stable"], &crashed.app["status"]["stable"]);
            prop_assert_eq!(straight.phase(), crashed.phase());
            prop_assert_eq!(straight.capacity(), replicas);
            prop_assert_eq!(crashed.capacity(), replicas);
        }
    }
}
