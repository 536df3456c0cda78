//! Laws of migrations: five files converge, each applied exactly once, wherever an executor is killed.
//!
//! The model of the cluster does what the contract of the actions says, and no more: every write is a
//! compare-and-set, a claim's Lease is made first, the row in the history commits with the file.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "the model is part of the test"
)]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};
use signalbox_common::digest::sha256_hex;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::{ClaimStep, Effect, SqlEffect};
use signalbox_common::wire::observation::StepLease;
use signalbox_common::wire::plan::{PlannedAction, Rest, Verdict};
use signalbox_common::wire::{Action, Cause, LiveObject, Observation, Plan};
use signalbox_planner::plan;
use uuid::Uuid;

/// What happens to the work of one claim.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Succeeds,
    FailsForNow,
    DiesBeforeCommit,
    DiesAfterCommit,
}

struct World {
    now: Timestamp,
    version: u64,
    generation: i64,
    flights: u128,
    spec: Value,
    status: Value,
    /// Leases by name: uid, and whether nobody renews it.
    leases: BTreeMap<String, (String, bool)>,
    /// What `ConfigMap` has.
    map: BTreeMap<String, String>,
    /// Versions in the order in which they were applied.
    history: Vec<(String, String)>,
    work: Option<(ClaimStep, String)>,
}

impl World {
    fn new(files: &[(&str, &str, bool)], app: bool) -> Self {
        let mut list = Vec::new();
        let mut map = BTreeMap::new();
        for (name, phase, inline) in files {
            let sha = sha256_hex(name.as_bytes());
            let mut file = json!({"name": name, "phase": phase});
            if *inline {
                file["sql"] = json!({"size": 10, "sha256": sha});
            } else {
                map.insert((*name).to_owned(), sha);
            }
            list.push(file);
        }
        let mut spec = json!({
            "target": {"urlFrom": {"name": "db", "key": "url"}, "historySchema": "signalbox"},
            "files": list,
            "configMap": "files",
            "retry": {"maxAttempts": 100},
        });
        if app {
            spec["app"] = json!("web");
        }
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            version: 1,
            generation: 1,
            flights: 0,
            spec,
            status: json!({"observedGeneration": -1}),
            leases: BTreeMap::new(),
            map,
            history: Vec::new(),
            work: None,
        }
    }

    fn observe(&mut self, cause: Cause) -> Observation {
        self.flights += 1;
        let lease = |(name, (uid, ended)): (&String, &(String, bool))| StepLease {
            name: name.clone(),
            uid: uid.clone(),
            resource_version: "1".to_owned(),
            holder: "executor-1".to_owned(),
            ended: *ended,
        };
        Observation {
            reconcile_id: ReconcileId(Uuid::from_u128(self.flights)),
            cluster: "test".to_owned(),
            key: ObjectKey::new(Kind::DatabaseMigration, "team-a", "schema"),
            uid: "uid-1".to_owned(),
            observed_at: self.now,
            cause,
            object: Some(LiveObject {
                kind: "DatabaseMigration".to_owned(),
                name: "schema".to_owned(),
                uid: "uid-1".to_owned(),
                resource_version: self.version.to_string(),
                generation: Some(self.generation),
                created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
                deleted_at: None,
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
                owners: Vec::new(),
                finalizers: Vec::new(),
                foreign: Vec::new(),
                content: json!({"spec": self.spec, "status": self.status}),
            }),
            children: Vec::new(),
            linked: Vec::new(),
            leases: self.leases.iter().map(lease).collect(),
            outcome: None,
            interrupted: 0,
            absent: Vec::new(),
            blind: Vec::new(),
            too_large: false,
        }
    }

    fn plan(&mut self, cause: Cause) -> Plan {
        let seen = self.observe(cause);
        let planned = plan(&seen);
        let again = serde_json::to_string(&plan(&seen)).unwrap();
        assert_eq!(
            serde_json::to_string(&planned).unwrap(),
            again,
            "the same bytes"
        );
        planned
    }

    /// Runs actions until the executor is killed, before action `crash` or in the middle of a claim.
    fn execute(&mut self, actions: &[PlannedAction], crash: Option<usize>, half: bool) {
        let mut own = self.version;
        for (at, planned) in actions.iter().enumerate() {
            if crash == Some(at) && !half {
                return;
            }
            match &planned.action {
                Action::PatchStatus(patch) => {
                    assert!(self.is_current(&patch.resource_version, &mut own));
                    merge(&mut self.status, &patch.status);
                    self.version += 1;
                }
                Action::ResolveSource(source) => {
                    assert!(self.is_current(&source.resource_version, &mut own));
                    let found = source.files.iter().filter_map(|name| {
                        self.map
                            .get(name)
                            .map(|sha| json!({"name": name, "size": 10, "sha256": sha}))
                    });
                    let found: Vec<Value> = found.collect();
                    self.status["source"] = json!({
                        "configMap": source.config_map, "forGeneration": source.for_generation, "files": found,
                    });
                    self.version += 1;
                }
                Action::CancelStep(cancel) => {
                    let (uid, _) = self
                        .leases
                        .get(&cancel.lease)
                        .expect("a Lease that was seen");
                    assert_eq!(*uid, cancel.lease_uid);
                    self.leases.remove(&cancel.lease);
                }
                Action::ClaimStep(claim) => {
                    assert!(!self.leases.contains_key(&claim.lease), "create-only");
                    let uid = format!("lease-{}", self.version);
                    self.leases.insert(claim.lease.clone(), (uid, false));
                    if crash == Some(at) {
                        return;
                    }
                    assert!(self.is_current(&claim.resource_version, &mut own));
                    self.status["claims"][&claim.step] = json!({
                        "stepId": planned.id, "attempt": claim.attempt, "executor": "executor-1",
                        "lease": claim.lease, "state": "Running", "startedAt": self.now,
                    });
                    self.version += 1;
                    self.work = Some((claim.clone(), planned.id.to_string()));
                }
                other => panic!("no action of a migration: {other:?}"),
            }
            own = self.version;
        }
    }

    /// An earlier action on the same object hands on its version.
    fn is_current(&self, seen: &str, own: &mut u64) -> bool {
        seen.parse::<u64>().unwrap() <= *own && *own == self.version
    }

    /// The work of the claim under way comes to its end; a withdrawn Lease cancels it.
    fn finish_work(&mut self, fate: Fate) -> bool {
        let Some((claim, id)) = self.work.take() else {
            return false;
        };
        let Effect::Sql(effect) = &claim.effect;
        let cancelled = !self.leases.contains_key(&claim.lease);
        let result = match fate {
            _ if cancelled => json!({"state": "Cancelled"}),
            Fate::Succeeds => {
                self.commit(effect);
                json!({"state": "Succeeded", "effectMs": 3})
            }
            Fate::FailsForNow => {
                json!({"state": "Failed", "class": "Transient", "message": "a lock"})
            }
            Fate::DiesBeforeCommit => return false,
            Fate::DiesAfterCommit => {
                self.commit(effect);
                return false;
            }
        };
        let entry = &mut self.status["claims"][&claim.step];
        if entry["stepId"] == json!(id) && entry["attempt"] == json!(claim.attempt) {
            merge(entry, &result);
            entry["finishedAt"] = json!(self.now);
            self.version += 1;
        }
        self.leases.remove(&claim.lease);
        true
    }

    fn commit(&mut self, effect: &SqlEffect) {
        if self
            .history
            .iter()
            .any(|(version, _)| *version == effect.version)
        {
            return;
        }
        self.history
            .push((effect.version.clone(), effect.file.sha256.clone()));
    }

    /// Time passes; what nobody renews any more is told as ended.
    fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        let worked_on = self.work.as_ref().map(|(claim, _)| claim.lease.clone());
        for (name, (_, ended)) in &mut self.leases {
            *ended = worked_on.as_ref() != Some(name);
        }
    }

    /// Plans and executes until nothing changes; returns the number of flights.
    fn run(&mut self, accidents: &mut dyn Iterator<Item = (Option<usize>, bool, Fate)>) -> usize {
        for flight in 1..400 {
            let (crash, half, fate) = accidents.next().unwrap_or((None, false, Fate::Succeeds));
            let Plan { verdict, rest, .. } = self.plan(Cause::Timer);
            match verdict {
                Verdict::Act { actions } => {
                    assert!(!actions.is_empty());
                    self.execute(&actions, crash, half);
                    if crash.is_none_or(|at| at >= actions.len()) {
                        self.check_rest(rest);
                    }
                    if !self.finish_work(fate) {
                        self.pass(7);
                    }
                }
                Verdict::Waiting {
                    until: Some(until), ..
                } => {
                    let wait = until.duration_since(self.now).as_secs().max(0) + 1;
                    self.pass(wait.max(7));
                }
                Verdict::Waiting { until: None, .. } | Verdict::Settled => {
                    if self.leases.values().all(|(_, ended)| !ended) && self.leases.is_empty() {
                        return flight;
                    }
                    self.pass(7);
                }
            }
        }
        panic!(
            "no end: {}",
            serde_json::to_string_pretty(&self.status).unwrap()
        );
    }

    /// What a plan foresaw: a look behind it finds nothing to do.
    fn check_rest(&mut self, rest: Option<Rest>) {
        if rest.is_some() {
            let found = self.plan(Cause::Outcome).verdict;
            assert_eq!(found.rest(), rest, "unforeseen: {found:#?}");
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.spec);
        self.generation += 1;
        self.version += 1;
    }

    fn applied(&self) -> Vec<&str> {
        self.history
            .iter()
            .map(|(version, _)| version.as_str())
            .collect()
    }
}

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
            merge(&mut target[key], value);
        }
    }
}

const FIVE: [(&str, &str, bool); 5] = [
    ("V1__tables.sql", "Expand", true),
    ("V2__column.sql", "Expand", false),
    ("V10__index.sql", "Expand", true),
    ("V3__drop.sql", "Contract", false),
    ("V4__drop.sql", "Contract", true),
];

#[test]
fn five_files_without_accidents_take_one_flight_each() {
    let mut world = World::new(&FIVE, false);
    let flights = world.run(&mut std::iter::empty());
    assert_eq!(world.applied(), ["1", "2", "10", "3", "4"]);
    assert_eq!(world.status["phase"], "Applied");
    assert_eq!(world.status["pending"], 0);
    assert_eq!(world.status["version"], "10");
    assert_eq!(world.status["claims"], json!({}));
    // The digests of the ConfigMap, five claims, the last result, and the look that finds it settled.
    assert_eq!(flights, 8);
}

#[test]
fn an_app_releases_phase_by_phase() {
    let mut world = World::new(&FIVE, true);
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied(), Vec::<&str>::new());
    assert_eq!(world.status["phase"], "AwaitingRelease");
    world.change(|spec| spec["release"] = json!({"phase": "Expand", "revision": "a"}));
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied(), ["1", "2", "10"]);
    assert_eq!(
        world.status["released"],
        json!({"phase": "Expand", "revision": "a"})
    );
    assert_eq!(world.status["observedGeneration"], json!(2));
    world.change(|spec| spec["release"] = json!({"phase": "Contract", "revision": "a"}));
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied(), ["1", "2", "10", "3", "4"]);
    assert_eq!(
        world.status["released"],
        json!({"phase": "Contract", "revision": "a"})
    );
}

/// Runs until a contract file is claimed and its work has begun.
fn contracting() -> World {
    let mut world = World::new(&[FIVE[0], FIVE[4]], true);
    world.change(|spec| spec["release"] = json!({"phase": "Contract", "revision": "a"}));
    loop {
        let Verdict::Act { actions } = world.plan(Cause::Outcome).verdict else {
            panic!("no end")
        };
        world.execute(&actions, None, false);
        if world
            .work
            .as_ref()
            .is_some_and(|(claim, _)| claim.step == "migrate-4")
        {
            return world;
        }
        world.finish_work(Fate::Succeeds);
    }
}

#[test]
fn a_withdrawn_contract_is_cancelled() {
    let mut world = contracting();
    world.change(|spec| spec["release"] = json!({"phase": "Expand", "revision": "a"}));
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied(), ["1"]);
    assert_eq!(world.status["claims"], json!({}));
    assert_eq!(
        world.status["released"],
        json!({"phase": "Expand", "revision": "a"})
    );
}

#[test]
fn a_withdrawn_contract_whose_executor_died_needs_a_person_or_the_release() {
    let mut world = contracting();
    world.change(|spec| spec["release"] = json!({"phase": "Expand", "revision": "a"}));
    world.finish_work(Fate::DiesAfterCommit);
    world.pass(7);
    world.run(&mut std::iter::empty());
    assert_eq!(world.status["phase"], "Ambiguous");
    assert_eq!(world.status["claims"]["migrate-4"]["state"], "Ambiguous");
    assert!(world.status.get("released").is_none());
    world.change(|spec| spec["release"] = json!({"phase": "Contract", "revision": "a"}));
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied(), ["1", "4"]);
    assert_eq!(world.status["phase"], "Applied");
}

#[test]
fn a_file_that_was_changed_after_it_was_applied_stalls() {
    let mut world = World::new(&FIVE, false);
    world.run(&mut std::iter::empty());
    world.change(|spec| spec["files"][0]["sql"]["sha256"] = json!("other"));
    world.run(&mut std::iter::empty());
    let stalled = &world.status["conditions"][2];
    assert_eq!(stalled["reason"], "ChecksumMismatch");
    assert_eq!(stalled["status"], "True");
    world.change(|spec| spec["files"][0]["sql"]["sha256"] = json!(sha256_hex(b"V1__tables.sql")));
    world.run(&mut std::iter::empty());
    assert_eq!(world.status["phase"], "Applied");
    assert_eq!(world.applied().len(), 5);
}

/// It was recorded as of unknown content, which nothing could ever be equal to.
#[test]
fn a_file_taken_out_while_it_is_applied_is_known_once_it_is_back() {
    let mut world = World::new(&FIVE, false);
    while world.work.is_none() {
        let Verdict::Act { actions } = world.plan(Cause::Timer).verdict else {
            panic!("the first file is to be claimed");
        };
        world.execute(&actions, None, false);
    }
    let all = world.spec["files"].clone();
    world.change(|spec| {
        spec["files"].as_array_mut().unwrap().remove(0);
    });
    world.finish_work(Fate::Succeeds);
    world.run(&mut std::iter::empty());
    assert_eq!(world.status["applied"][0]["name"], "V1__removed.sql");
    world.change(|spec| spec["files"] = all);
    world.run(&mut std::iter::empty());
    assert_eq!(world.status["phase"], "Applied");
    assert_eq!(world.status["applied"][0]["name"], "V1__tables.sql");
    assert_eq!(world.applied().len(), 5);
}

#[test]
fn a_file_that_comes_late_into_its_config_map_is_found() {
    let mut world = World::new(&FIVE, false);
    let sha = world.map.remove("V2__column.sql").unwrap();
    for _ in 0..12 {
        if let Verdict::Act { actions } = world.plan(Cause::Timer).verdict {
            world.execute(&actions, None, false);
            world.finish_work(Fate::Succeeds);
        }
        world.pass(2);
    }
    assert_eq!(world.applied(), ["1"]);
    assert_eq!(world.status["lastFailure"]["class"], "Missing");
    assert!(
        world.status["lastFailure"]["attempts"].as_u64().unwrap() < 6,
        "ever more rarely"
    );
    world.map.insert("V2__column.sql".to_owned(), sha);
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied().len(), 5);
    assert!(world.status.get("lastFailure").is_none());
}

#[test]
fn a_paused_migration_starts_nothing() {
    let mut world = World::new(&FIVE, false);
    world.change(|spec| spec["paused"] = json!(true));
    world.run(&mut std::iter::empty());
    assert_eq!(world.status["phase"], "Paused");
    assert_eq!(world.applied(), Vec::<&str>::new());
    world.change(|spec| spec["paused"] = json!(false));
    world.run(&mut std::iter::empty());
    assert_eq!(world.applied().len(), 5);
}

fn accident() -> impl Strategy<Value = (Option<usize>, bool, Fate)> {
    let fate = prop_oneof![
        Just(Fate::Succeeds),
        Just(Fate::FailsForNow),
        Just(Fate::DiesBeforeCommit),
        Just(Fate::DiesAfterCommit)
    ];
    (proptest::option::of(0_usize..4), any::<bool>(), fate)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn five_files_are_applied_once_each_wherever_an_executor_is_killed(
        accidents in proptest::collection::vec(accident(), 0..40),
    ) {
        let mut world = World::new(&FIVE, false);
        world.run(&mut accidents.into_iter());
        prop_assert_eq!(world.applied(), ["1", "2", "10", "3", "4"]);
        prop_assert_eq!(&world.status["phase"], &json!("Applied"));
        prop_assert_eq!(&world.status["claims"], &json!({}));
        prop_assert!(world.status.get("lastFailure").is_none());
        prop_assert!(world.status.get("nextWake").is_none());
        // And it stays so, at any later time and for any cause.
        world.pass(10_000);
        prop_assert_eq!(world.plan(Cause::Resync).verdict, Verdict::Settled);
    }
}
