//! A rollback racing the contract phase, in every order: no pod of the old revision ever meets a dropped column.
//!
//! App and migration are planned by the real planner; a flight's actions are done one at a time, with
//! their guards and compare-and-sets as the executor keeps them. Between any two of them the user may take
//! the image back, the other object's flight may go on, and the SQL may commit, also after its Lease is gone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "the model is part of the test"
)]

#[expect(dead_code, reason = "other tests use the rest of it")]
mod model;

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;
use model::{APP, Cluster};
use serde_json::{Value, json};
use signalbox_common::digest;
use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::{ClaimStep, Effect};
use signalbox_common::wire::observation::StepLease;
use signalbox_common::wire::plan::{PlannedAction, Verdict};
use signalbox_common::wire::{Action, Cause, LiveObject, Observation};
use signalbox_crds::migration::Phase;
use signalbox_planner::plan;

/// What becomes of the executor that works on the contract file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    DiesBeforeCommit,
    DiesAfterCommit,
}

#[derive(Clone)]
struct Work {
    claim: ClaimStep,
    id: String,
    committed: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    App,
    Migration,
    Work,
}

#[derive(Clone)]
struct Race {
    app: Cluster,
    leases: BTreeMap<String, (String, bool)>,
    work: Option<Work>,
    fate: Fate,
    /// Versions in the database's history.
    history: Vec<String>,
    app_flight: VecDeque<PlannedAction>,
    migration_flight: VecDeque<PlannedAction>,
    /// Version of the migration after this flight's last write.
    handed_on: Option<String>,
    /// Name of the revision that needs the column, once there is one.
    needs: Option<String>,
}

fn migration() -> LiveObject {
    let file = |name: &str, phase: &str| json!({"name": name, "phase": phase, "sql": {"size": 10, "sha256": digest::sha256_hex(name.as_bytes())}});
    let spec = json!({"app": APP, "target": {"urlFrom": {"name": "db", "key": "url"}, "historySchema": "signalbox"},
        "files": [file("V1__tables.sql", "Expand")]});
    let mut live = serde_json::from_value::<LiveObject>(json!({
        "kind": "DatabaseMigration", "name": "schema", "uid": "schema-uid", "resourceVersion": "1",
        "createdAt": "2026-01-01T00:00:00Z", "content": {},
    }))
    .unwrap();
    live.generation = Some(1);
    live.content = json!({"spec": spec, "status": {"observedGeneration": -1}});
    live
}

impl Race {
    /// The first revision serves, the second is under way; its migration's contract file drops what the first needs.
    fn begin() -> Self {
        let spec = json!({"image": "example/orders:1", "ports": [{"name": "http", "port": 8080}], "replicas": 2,
            "migrations": {"name": "schema"}, "rollout": {"steps": [{"weight": 50}], "drainSeconds": 0}});
        let mut app = Cluster::new(spec);
        app.linked.push(migration());
        let mut race = Self {
            app,
            leases: BTreeMap::new(),
            work: None,
            fate: Fate::Lives,
            history: Vec::new(),
            app_flight: VecDeque::new(),
            migration_flight: VecDeque::new(),
            handed_on: None,
            needs: None,
        };
        race.drive();
        race.needs = Some(format!(
            "{APP}-{}",
            race.app.status["stable"].as_str().unwrap()
        ));
        let version = race.app.next();
        let live = &mut race.app.linked[0];
        let more = |name: &str, phase: &str| json!({"name": name, "phase": phase, "sql": {"size": 10, "sha256": digest::sha256_hex(name.as_bytes())}});
        let files = live.content["spec"]["files"].as_array_mut().unwrap();
        files.push(more("V2__column.sql", "Expand"));
        files.push(more("V3__drop.sql", "Contract"));
        live.generation = live.generation.map(|g| g + 1);
        live.resource_version = version;
        race.app.change(&json!({"image": "example/orders:2"}));
        race
    }

    fn dropped(&self) -> bool {
        self.history.iter().any(|version| version == "3")
    }

    /// The law.
    fn check(&self) {
        let Some(old) = &self.needs else { return };
        let found = self.app.deployments();
        let pods = found
            .iter()
            .find(|(name, _)| name == old)
            .map_or(0, |(_, replicas)| *replicas);
        let service = self
            .app
            .children
            .get(&("Service".to_owned(), APP.to_owned()))
            .unwrap();
        let hash = old.rsplit('-').next().unwrap();
        let selector = service.content["spec"]["selector"].as_object().unwrap();
        let served = selector.keys().any(|key| key.ends_with(hash));
        assert!(
            !(self.dropped() && (pods > 0 || served)),
            "the column is dropped under {old}: {pods} pods, served: {served}; {}",
            self.app.status
        );
    }

    fn undo(&mut self) {
        self.wants("example/orders:1");
    }

    fn wants(&mut self, image: &str) {
        self.app.change(&json!({"image": image}));
    }

    fn pass(&mut self, milliseconds: i64) {
        self.app.now = self
            .app
            .now
            .checked_add(SignedDuration::from_millis(milliseconds))
            .unwrap();
    }

    /// One step of somebody; false: nothing was to be done.
    fn step(&mut self, turn: Turn) -> bool {
        self.pass(40);
        let did = match turn {
            Turn::App => self.step_app(),
            Turn::Migration => self.step_migration(),
            Turn::Work => self.step_work(),
        };
        self.check();
        did
    }

    fn step_app(&mut self) -> bool {
        self.app.settle_pods();
        let Some(planned) = self.app_flight.pop_front() else {
            let cause = Cause::Spec {
                generation: self.app.generation,
            };
            let Verdict::Act { actions } = plan(&self.app.observe(cause)).verdict else {
                return false;
            };
            self.app_flight = actions.into();
            return true;
        };
        if self.app.guards_hold(&planned) && self.app.is_current(&planned.action) {
            self.app.perform(&planned);
            self.app.check_capacity(&planned.key);
        } else {
            // An executor stops at the first action that can't be done.
            self.app_flight.clear();
        }
        true
    }

    fn observe_migration(&mut self) -> Observation {
        let object = self.app.linked[0].clone();
        let mut seen = self.app.observe(Cause::Timer);
        seen.key = ObjectKey::new(Kind::DatabaseMigration, "team", "schema");
        seen.uid.clone_from(&object.uid);
        seen.object = Some(object);
        (seen.children, seen.linked) = (Vec::new(), Vec::new());
        let lease = |(name, (uid, ended)): (&String, &(String, bool))| StepLease {
            name: name.clone(),
            uid: uid.clone(),
            resource_version: "1".to_owned(),
            holder: "executor-1".to_owned(),
            ended: *ended,
        };
        seen.leases = self.leases.iter().map(lease).collect();
        seen
    }

    fn step_migration(&mut self) -> bool {
        let Some(planned) = self.migration_flight.pop_front() else {
            let Verdict::Act { actions } = plan(&self.observe_migration()).verdict else {
                return false;
            };
            self.migration_flight = actions.into();
            self.handed_on = None;
            return true;
        };
        if !self.perform_on_migration(&planned) {
            self.migration_flight.clear();
        }
        true
    }

    fn perform_on_migration(&mut self, planned: &PlannedAction) -> bool {
        let live = &self.app.linked[0];
        match &planned.action {
            Action::PatchStatus(patch) => {
                if digest::of_json(&live.content["status"]) != patch.seen
                    && self.handed_on.as_ref() != Some(&live.resource_version)
                {
                    return false;
                }
                self.write_status(&patch.status);
            }
            Action::CancelStep(cancel) => {
                let held = self.leases.get(&cancel.lease);
                if held.is_some_and(|(uid, _)| *uid == cancel.lease_uid) {
                    self.leases.remove(&cancel.lease);
                }
            }
            Action::ClaimStep(claim) => {
                let wanted = self.handed_on.as_ref().unwrap_or(&claim.resource_version);
                if self.leases.contains_key(&claim.lease) || *wanted != live.resource_version {
                    return false;
                }
                assert!(self.work.is_none(), "one file at a time");
                let uid = format!("lease-{}", self.app.next());
                self.leases.insert(claim.lease.clone(), (uid, false));
                let now = self.app.now;
                self.write_status(&json!({"claims": {&claim.step: {
                    "stepId": planned.id, "attempt": claim.attempt, "executor": "executor-1",
                    "lease": claim.lease, "state": "Running", "startedAt": now,
                }}}));
                self.work = Some(Work {
                    claim: claim.clone(),
                    id: planned.id.to_string(),
                    committed: false,
                });
            }
            other => panic!("no action of a migration: {other:?}"),
        }
        true
    }

    fn write_status(&mut self, patch: &Value) {
        let version = self.app.next();
        let live = &mut self.app.linked[0];
        model::merge(&mut live.content["status"], patch);
        live.resource_version.clone_from(&version);
        self.handed_on = Some(version);
    }

    /// The work commits, then writes its result; it may commit although its Lease is gone.
    fn step_work(&mut self) -> bool {
        let Some(mut work) = self.work.take() else {
            return false;
        };
        let Effect::Sql(effect) = &work.claim.effect;
        let contract = effect.phase == Phase::Contract;
        if contract && self.fate == Fate::DiesBeforeCommit {
            self.fate = Fate::Lives;
            return true;
        }
        if !work.committed {
            if !self.history.contains(&effect.version) {
                self.history.push(effect.version.clone());
            }
            work.committed = true;
            if contract && self.fate == Fate::DiesAfterCommit {
                self.fate = Fate::Lives;
            } else {
                self.work = Some(work);
            }
            return true;
        }
        self.result(&work, &json!({"state": "Succeeded", "effectMs": 3}));
        true
    }

    /// The work notices that its Lease is gone before it sends COMMIT.
    fn give_up_work(&mut self) {
        let cancelled =
            |work: &Work| !work.committed && !self.leases.contains_key(&work.claim.lease);
        if self.work.as_ref().is_some_and(cancelled) {
            let work = self.work.take().unwrap();
            self.result(&work, &json!({"state": "Cancelled"}));
        }
    }

    fn result(&mut self, work: &Work, result: &Value) {
        let entry = &self.app.linked[0].content["status"]["claims"][&work.claim.step];
        let own =
            entry["stepId"] == json!(work.id) && entry["attempt"] == json!(work.claim.attempt);
        if own && entry["state"] == "Running" {
            let mut patch = result.clone();
            patch["finishedAt"] = json!(self.app.now);
            let kept = self.handed_on.clone();
            self.write_status(&json!({"claims": {&work.claim.step: patch}}));
            // It is another writer: the flight under way does not learn of its version.
            self.handed_on = kept;
        }
        self.leases.remove(&work.claim.lease);
    }

    /// Everybody in turn until nothing is left to do.
    fn drive(&mut self) {
        let mut idle = 0;
        for _ in 0..600 {
            self.give_up_work();
            let mut did = false;
            for turn in [Turn::App, Turn::Migration, Turn::Work] {
                did |= self.step(turn);
            }
            idle = if did { 0 } else { idle + 1 };
            if idle == 3 {
                return;
            }
            if !did {
                // Leases that nobody renews are seen to have ended.
                self.pass(7_000);
                let held = self.work.as_ref().map(|work| work.claim.lease.clone());
                for (name, (_, ended)) in &mut self.leases {
                    *ended = held.as_ref() != Some(name);
                }
            }
        }
        panic!("does not settle: {}", self.app.status);
    }
}

/// Turns of a schedule: `pattern` in base 3, over and over.
fn turn(pattern: usize, at: usize) -> Turn {
    let digit = u32::try_from(at % 4).unwrap();
    [Turn::App, Turn::Migration, Turn::Work][pattern / 3_usize.pow(digit) % 3]
}

/// The second revision has taken over and its contract phase is near.
fn promoted() -> Race {
    let mut race = Race::begin();
    for _ in 0..400 {
        if race.app.status["rollout"]["state"] == "Promoted" {
            return race;
        }
        race.step(Turn::App);
        race.step(Turn::Migration);
        race.step(Turn::Work);
    }
    panic!("no promotion: {}", race.app.status);
}

#[test]
fn without_a_rollback_the_column_goes_and_the_new_revision_stays() {
    let mut race = Race::begin();
    race.drive();
    assert_eq!(race.history, ["1", "2", "3"]);
    assert_eq!(race.app.status["rollout"]["state"], "Completed");
    race.undo();
    race.drive();
    assert_eq!(race.app.warnings, ["RollbackRefused"]);
}

#[test]
fn what_contract_left_behind_is_refused_from_any_later_revision() {
    let mut race = Race::begin();
    race.drive();
    let second = race.app.status["stable"].clone();
    race.wants("example/orders:3");
    race.drive();
    assert_ne!(race.app.status["stable"], second);
    race.undo();
    race.drive();
    assert_eq!(race.app.warnings, ["RollbackRefused"]);
    race.wants("example/orders:2");
    race.drive();
    assert_eq!(
        race.app.status["stable"], second,
        "it was made for this schema"
    );
}

#[test]
fn a_revision_that_is_gone_back_to_releases_no_contract_and_the_next_new_one_does() {
    let mut race = promoted();
    race.undo();
    race.drive();
    assert!(!race.dropped());
    assert_eq!(race.app.serving(), 2);
    race.wants("example/orders:3");
    race.drive();
    assert!(race.dropped());
    assert_eq!(race.app.status["phase"], "Ready");
}

#[test]
fn in_every_order_the_old_revision_has_its_column_or_is_refused() {
    let (mut back, mut refused, mut ambiguous) = (0, 0, 0);
    let start = promoted();
    for fate in [Fate::Lives, Fate::DiesBeforeCommit, Fate::DiesAfterCommit] {
        for pattern in 0..81 {
            // Every fourth place, another one in each pattern.
            for undo in (pattern % 4..28).step_by(4) {
                let mut race = start.clone();
                race.fate = fate;
                for at in 0..undo + 16 {
                    if at == undo {
                        race.undo();
                    }
                    if pattern % 2 == 0 {
                        race.give_up_work();
                    }
                    race.step(turn(pattern, at));
                }
                race.drive();
                let status = &race.app.status;
                let stable = format!("{APP}-{}", status["stable"].as_str().unwrap());
                if race.app.linked[0].content["status"]["phase"] == "Ambiguous" {
                    ambiguous += 1;
                } else if Some(&stable) == race.needs.as_ref() {
                    assert!(!race.dropped());
                    assert_eq!(status["phase"], "Ready", "{status}");
                    back += 1;
                } else {
                    assert!(race.dropped(), "{status}");
                    assert_eq!(race.app.warnings, ["RollbackRefused"]);
                    refused += 1;
                }
                assert_eq!(race.app.serving(), 2, "{status}");
            }
        }
    }
    println!("{back} went back, {refused} were refused, {ambiguous} wait for a person");
    assert!(
        back >= 100 && refused >= 100,
        "both orders: {back} {refused}"
    );
}

#[test]
fn revisions_made_in_the_same_second_hold_contract_back_for_nobody() {
    let mut early = promoted();
    // As if both had been made in the second in which the rollout began.
    let began = early.app.status["rollout"]["startedAt"].clone();
    for child in early.app.children.values_mut() {
        child.created_at = serde_json::from_value(began.clone()).unwrap();
    }
    early.drive();
    assert!(early.dropped(), "{}", early.app.status["lastDecision"]);
}
