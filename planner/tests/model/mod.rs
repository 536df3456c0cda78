//! A cluster in memory: does what the contract of the actions says, and no more.
//!
//! Every write is a compare-and-set; Deployments become ready unless their image says "bad".

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    unreachable_pub,
    reason = "the model is part of the tests"
)]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use signalbox_common::digest;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::ApplyMode;
use signalbox_common::wire::live::Owner;
use signalbox_common::wire::plan::{PlannedAction, Rest, Verdict};
use signalbox_common::wire::{Action, Cause, LiveObject, Observation, Plan};
use signalbox_planner::plan;
use uuid::Uuid;

pub const APP: &str = "orders";
pub const UID: &str = "app-uid";

#[derive(Clone)]
pub struct Cluster {
    pub now: Timestamp,
    version: u64,
    flights: u128,
    pub generation: i64,
    pub spec: Value,
    pub status: Value,
    pub deleted_at: Option<Timestamp>,
    pub finalizers: Vec<String>,
    pub gone: bool,
    pub children: BTreeMap<(String, String), LiveObject>,
    pub linked: Vec<LiveObject>,
    /// Reasons of Events of type Warning.
    pub warnings: Vec<String>,
    /// What Events of type Normal tell: promotions.
    pub promoted: Vec<String>,
    /// Pods that must serve: what the users had and still want.
    floor: i64,
    pub writes: usize,
    /// Plans that foresaw that nothing is to be done behind them, and were right.
    pub rests: usize,
}

impl Cluster {
    pub fn new(spec: Value) -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            version: 1,
            flights: 0,
            generation: 1,
            spec,
            status: json!({"observedGeneration": -1}),
            deleted_at: None,
            finalizers: Vec::new(),
            gone: false,
            children: BTreeMap::new(),
            linked: Vec::new(),
            warnings: Vec::new(),
            promoted: Vec::new(),
            floor: 0,
            writes: 0,
            rests: 0,
        }
    }

    /// A user changes fields of the spec.
    pub fn change(&mut self, patch: &Value) {
        self.pass(1000);
        let before = self.spec.clone();
        merge(&mut self.spec, patch);
        if self.spec != before {
            self.generation += 1;
        }
        self.floor = self.floor.min(self.replicas());
    }

    pub fn replicas(&self) -> i64 {
        self.spec
            .get("replicas")
            .and_then(Value::as_i64)
            .unwrap_or(1)
    }

    pub fn next(&mut self) -> String {
        self.version += 1;
        self.version.to_string()
    }

    fn object(&self) -> LiveObject {
        LiveObject {
            kind: "PortfolioApp".to_owned(),
            name: APP.to_owned(),
            uid: UID.to_owned(),
            resource_version: self.version.to_string(),
            generation: Some(self.generation),
            created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            deleted_at: self.deleted_at,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            owners: Vec::new(),
            finalizers: self.finalizers.clone(),
            foreign: Vec::new(),
            content: json!({"spec": self.spec, "status": self.status}),
        }
    }

    pub fn observe(&mut self, cause: Cause) -> Observation {
        self.flights += 1;
        Observation {
            reconcile_id: ReconcileId(Uuid::from_u128(self.flights)),
            cluster: "test".to_owned(),
            key: ObjectKey::new(Kind::PortfolioApp, "team", APP),
            uid: UID.to_owned(),
            observed_at: self.now,
            cause,
            object: (!self.gone).then(|| self.object()),
            children: self.children.values().cloned().collect(),
            linked: self.linked.clone(),
            leases: Vec::new(),
            outcome: None,
            interrupted: 0,
            absent: Vec::new(),
            blind: Vec::new(),
            too_large: false,
        }
    }

    /// Plans twice and compares: the same input gives the same bytes. No two actions have one key.
    pub fn plan(&mut self) -> Plan {
        let cause = Cause::Spec {
            generation: self.generation,
        };
        let seen = self.observe(cause);
        let plan_of = |seen: &Observation| serde_json::to_string(&plan(seen)).unwrap();
        assert_eq!(plan_of(&seen), plan_of(&seen));
        let plan = plan(&seen);
        if let Verdict::Act { actions } = &plan.verdict {
            let keys: BTreeSet<&str> = actions.iter().map(|planned| &*planned.key).collect();
            assert_eq!(keys.len(), actions.len(), "a key twice: {actions:#?}");
        }
        plan
    }

    /// One flight, of which at most `most` actions are done. False: nothing was to be done.
    pub fn flight(&mut self, most: usize) -> bool {
        let Plan { verdict, rest, .. } = self.plan();
        let Verdict::Act { actions } = verdict else {
            return false;
        };
        let (pods, wanted) = (self.pods(), actions.len());
        let mut done = 0;
        for planned in actions.into_iter().take(most) {
            if !self.guards_hold(&planned) || !self.is_current(&planned.action) {
                break;
            }
            self.perform(&planned);
            self.writes += 1;
            done += 1;
            self.check_capacity(&planned.key);
        }
        // Pods that went meanwhile are a change, which is looked at.
        if let Some(rest) = rest.filter(|_| done == wanted && pods == self.pods()) {
            self.check_rest(rest);
        }
        true
    }

    /// What a plan foresaw: a look behind it finds nothing to do.
    fn check_rest(&mut self, rest: Rest) {
        self.rests += 1;
        let seen = self.observe(Cause::Outcome);
        let found = plan(&seen).verdict;
        assert_eq!(found.rest(), Some(rest), "unforeseen: {found:#?}");
    }

    /// What the statuses of the Deployments tell.
    fn pods(&self) -> BTreeMap<String, Value> {
        let all = self.children.values();
        all.filter_map(|live| Some((live.name.clone(), live.at("/status")?.clone())))
            .collect()
    }

    pub fn guards_hold(&self, planned: &PlannedAction) -> bool {
        planned.guards.iter().all(|guard| {
            let child = self.children.get(&(guard.kind.clone(), guard.name.clone()));
            let linked = self
                .linked
                .iter()
                .find(|l| l.kind == guard.kind && l.name == guard.name);
            let live = child.or(linked);
            if guard.uid.is_empty() {
                return live.is_none_or(|live| live.deleted_at.is_some() || !live.is_owned_by(UID));
            }
            live.is_some_and(|live| {
                live.uid == guard.uid
                    && guard
                        .expect
                        .iter()
                        .all(|e| e.test.holds(live.content.pointer(&e.pointer)))
            })
        })
    }

    fn child(&self, kind: &str, name: &str) -> Option<&LiveObject> {
        self.children.get(&(kind.to_owned(), name.to_owned()))
    }

    /// Whether what the action rests on is as it was seen: a write that meets another version is tried
    /// again while that holds, so it decides alone.
    pub fn is_current(&self, action: &Action) -> bool {
        match action {
            Action::ApplyChild(apply) => {
                let live = self.child(apply.kind.as_str(), &apply.name);
                match (&apply.mode, live) {
                    (ApplyMode::Create, live) => live.is_none(),
                    (
                        ApplyMode::Apply { uid, seen, .. } | ApplyMode::Replace { uid, seen, .. },
                        Some(live),
                    ) => *uid == live.uid && *seen == Some(live.basis()),
                    (ApplyMode::Apply { .. } | ApplyMode::Replace { .. }, None) => false,
                }
            }
            Action::DeleteChild(delete) => {
                let live = self.child(delete.kind.as_str(), &delete.name);
                live.is_some_and(|l| l.uid == delete.uid && delete.seen == Some(l.basis()))
            }
            Action::Scale(scale) => {
                let live = self.child("Deployment", &scale.name);
                live.is_some_and(|l| {
                    l.uid == scale.uid && l.count("/spec/replicas") == i64::from(scale.from)
                })
            }
            Action::PatchStatus(patch) => digest::of_json(&self.status) == patch.seen,
            Action::PatchSpec(patch) => {
                let linked = self.linked.iter().find(|l| l.uid == patch.uid);
                linked.is_some_and(|live| {
                    let same = |(pointer, seen): (&String, &Value)| {
                        live.at(pointer).unwrap_or(&Value::Null) == seen
                    };
                    patch.replaces.iter().all(same)
                })
            }
            Action::AddFinalizer(_) | Action::RemoveFinalizer(_) | Action::EmitEvent(_) => true,
            other => panic!("{other:?}"),
        }
    }

    /// Does a current action.
    pub fn perform(&mut self, planned: &PlannedAction) {
        match &planned.action {
            Action::ApplyChild(apply) => {
                let key = (apply.kind.as_str().to_owned(), apply.name.clone());
                let old = self.children.get(&key).cloned();
                let version = self.next();
                let live = stored(&apply.object, old.as_ref(), version, self.now);
                self.children.insert(key, live);
            }
            Action::DeleteChild(delete) => {
                let key = (delete.kind.as_str().to_owned(), delete.name.clone());
                let live = self.children.remove(&key).expect("it is there");
                assert_eq!(live.uid, delete.uid);
            }
            Action::Scale(scale) => {
                let version = self.next();
                let key = ("Deployment".to_owned(), scale.name.clone());
                let live = self.children.get_mut(&key).expect("it is there");
                live.content["spec"]["replicas"] = json!(scale.to);
                live.generation = live.generation.map(|g| g + 1);
                live.resource_version = version;
                // Pods go at once and come later.
                for count in ["replicas", "readyReplicas", "availableReplicas"] {
                    let found = live.content["status"][count].as_i64().unwrap_or(0);
                    live.content["status"][count] = json!(found.min(i64::from(scale.to)));
                }
            }
            Action::PatchStatus(patch) => {
                merge(&mut self.status, &patch.status);
                self.next();
            }
            Action::PatchSpec(patch) => {
                let version = self.next();
                let live = self
                    .linked
                    .iter_mut()
                    .find(|l| l.name == patch.name)
                    .expect("it is linked");
                merge(&mut live.content["spec"], &patch.spec);
                live.generation = live.generation.map(|g| g + 1);
                live.resource_version = version;
            }
            Action::AddFinalizer(change) => {
                self.finalizers.clone_from(&change.finalizers);
                self.next();
            }
            Action::RemoveFinalizer(change) => {
                self.finalizers.clone_from(&change.finalizers);
                self.gone = self.finalizers.is_empty();
            }
            Action::EmitEvent(event) if event.warning => self.warnings.push(event.reason.clone()),
            Action::EmitEvent(event) => {
                assert_eq!(event.reason, "Promoted");
                self.promoted.push(event.note.clone());
            }
            other => panic!("{other:?}"),
        }
    }

    /// The controllers of the cluster: pods follow replicas, releases follow their wish.
    pub fn settle(&mut self) {
        self.settle_pods();
        for live in &mut self.linked {
            let release = live.content["spec"]["release"].clone();
            live.content["status"]["observedGeneration"] = json!(live.generation);
            live.content["status"]["released"] = release;
        }
    }

    /// Pods follow replicas.
    pub fn settle_pods(&mut self) {
        let mut version = self.version;
        for ((kind, _), live) in &mut self.children {
            if kind != "Deployment" {
                continue;
            }
            let asked = live.content["spec"]["replicas"].as_i64().unwrap_or(1);
            let image = live.content["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            let good = if image.as_str().unwrap().contains("bad") {
                0
            } else {
                asked
            };
            let status = json!({"observedGeneration": live.generation, "replicas": asked,
                "readyReplicas": good, "availableReplicas": good});
            if live.content["status"] != status {
                live.content["status"] = status;
                version += 1;
                live.resource_version = version.to_string();
            }
        }
        self.version = version;
        if self.serving() >= self.replicas() {
            self.floor = self.replicas();
        }
    }

    /// Pods that the Service sends to.
    pub fn serving(&self) -> i64 {
        let Some(service) = self.children.get(&("Service".to_owned(), APP.to_owned())) else {
            return 0;
        };
        let selector = service.content["spec"]["selector"].as_object().unwrap();
        let matches = |live: &&LiveObject| {
            let labels = &live.content["spec"]["template"]["metadata"]["labels"];
            selector
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        };
        let deployments = self
            .children
            .values()
            .filter(|live| live.kind == "Deployment");
        deployments
            .filter(matches)
            .map(|live| live.count("/status/availableReplicas"))
            .sum()
    }

    pub fn check_capacity(&self, action: &str) {
        if self.deleted_at.is_none() {
            let serving = self.serving();
            assert!(
                serving >= self.floor,
                "{serving} of {} serve after {action}: {}",
                self.floor,
                self.status
            );
        }
    }

    /// Flights until nothing is left to do, time included; in each at most `most` actions, once.
    pub fn drive(&mut self, crash: Option<usize>) {
        let mut crash = crash;
        for _ in 0..200 {
            let acted = self.flight(crash.take().unwrap_or(usize::MAX));
            self.settle();
            if acted {
                continue;
            }
            // Nothing to do now: does a change of the cluster or the time give more to do?
            if matches!(self.plan().verdict, Verdict::Act { .. }) {
                continue;
            }
            let wake = self.status.get("nextWake").and_then(Value::as_str);
            let Some(wake) = wake.and_then(|wake| wake.parse::<Timestamp>().ok()) else {
                return;
            };
            if self.gone {
                return;
            }
            self.now = wake.max(
                self.now
                    .checked_add(SignedDuration::from_millis(1))
                    .unwrap(),
            );
        }
        panic!("does not settle: {}", self.status);
    }

    /// Time passes.
    pub fn pass(&mut self, millis: i64) {
        let later = self.now.checked_add(SignedDuration::from_millis(millis));
        self.now = later.unwrap();
    }

    /// Somebody deletes all children of a kind.
    pub fn rob(&mut self, kind: &str) {
        self.children.retain(|(of, _), _| of != kind);
    }

    /// The same after a loss that no plan caused.
    pub fn drive_from_nothing(&mut self) {
        self.floor = 0;
        self.drive(None);
    }

    /// What it looks like in the end, without times, versions and who decided when.
    pub fn end(&self) -> Value {
        let mut status = self.status.clone();
        for field in ["lastDecision", "lastFailure", "nextWake"] {
            status.as_object_mut().unwrap().remove(field);
        }
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition
                .as_object_mut()
                .unwrap()
                .remove("lastTransitionTime");
        }
        if let Some(rollout) = status.get_mut("rollout").and_then(Value::as_object_mut) {
            rollout.retain(|key, _| ["revision", "state", "weight"].contains(&key.as_str()));
        }
        let children: BTreeMap<String, Value> = self
            .children
            .iter()
            .map(|((kind, name), live)| {
                (
                    format!("{kind}/{name}"),
                    live.content
                        .get("spec")
                        .or(live.content.get("data"))
                        .cloned()
                        .unwrap_or_default(),
                )
            })
            .collect();
        json!({"status": status, "children": children})
    }

    pub fn deployments(&self) -> Vec<(&str, i64)> {
        let all = self
            .children
            .values()
            .filter(|live| live.kind == "Deployment");
        all.map(|live| {
            (
                live.name.as_str(),
                live.content["spec"]["replicas"].as_i64().unwrap(),
            )
        })
        .collect()
    }
}

/// What the server stores.
fn stored(object: &Value, old: Option<&LiveObject>, version: String, now: Timestamp) -> LiveObject {
    let metadata = &object["metadata"];
    let texts = |field: &str| serde_json::from_value(metadata[field].clone()).unwrap_or_default();
    let mut content = object.as_object().unwrap().clone();
    content.retain(|key, _| !["apiVersion", "kind", "metadata"].contains(&key.as_str()));
    if let Some(status) = old.and_then(|old| old.content.get("status")) {
        content.insert("status".to_owned(), status.clone());
    }
    let owners = metadata["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|owner| Owner {
            kind: owner["kind"].as_str().unwrap().to_owned(),
            name: owner["name"].as_str().unwrap().to_owned(),
            uid: owner["uid"].as_str().unwrap().to_owned(),
            controller: owner["controller"] == true,
        });
    let changed = old.is_none_or(|old| old.content.get("spec") != content.get("spec"));
    let generation = old.and_then(|old| old.generation).unwrap_or(0);
    LiveObject {
        kind: object["kind"].as_str().unwrap().to_owned(),
        name: metadata["name"].as_str().unwrap().to_owned(),
        uid: old.map_or_else(|| format!("uid-{version}"), |old| old.uid.clone()),
        resource_version: version,
        generation: Some(generation + i64::from(changed)),
        created_at: old.map_or(now, |old| old.created_at),
        deleted_at: None,
        labels: texts("labels"),
        annotations: texts("annotations"),
        owners: owners.collect(),
        finalizers: Vec::new(),
        foreign: Vec::new(),
        content: Value::Object(content),
    }
}

pub fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let target = into.as_object_mut().unwrap();
    for (key, value) in fields {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
