//! The oracle sees what it is there for: each invariant is broken once, by hand, and told.
//!
//! No part runs here; what parts do is written on the model of the API server in their name.

#![allow(clippy::unwrap_used, reason = "a failed step ends a suite")]

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::id::{ReconcileId, StepId};
use signalbox_executor::sql::{Author, ConnectionUrl, Job, Limits};
use signalbox_simulation::api::Server;
use signalbox_simulation::api::json::text;
use signalbox_simulation::api::store::Place;
use signalbox_simulation::api::write::{Sub, Verb};
use signalbox_simulation::net::Net;
use signalbox_simulation::oracle::Oracle;
use signalbox_simulation::oracle::records::Records;
use signalbox_simulation::user::{self, NAMESPACE, PASSWORD};
use uuid::Uuid;

const EXECUTOR: &str = "executor-1.1";

struct World {
    server: Arc<Server>,
    net: Arc<Net>,
    records: Arc<Records>,
    oracle: Arc<Oracle>,
}

impl World {
    fn new() -> Self {
        let (died, _ears) = tokio::sync::mpsc::unbounded_channel();
        let net = Net::new(1, Timestamp::UNIX_EPOCH, died, false);
        let (server, records) = (Server::new(1), Records::new(user::secrets()));
        let oracle = Oracle::watch(&server, &net, &records);
        Self {
            server,
            net,
            records,
            oracle,
        }
    }

    /// Writes, and returns the object's uid.
    fn write(&self, who: &str, verb: Verb, kind: &str, name: &str, body: &Value) -> String {
        self.write_sub(who, verb, kind, name, Sub::Whole, body)
    }

    /// The same for a part of it.
    fn write_sub(
        &self,
        who: &str,
        verb: Verb,
        kind: &str,
        name: &str,
        sub: Sub,
        body: &Value,
    ) -> String {
        let place = Place::of(kind, NAMESPACE, name).unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let written = self.server.write(who, verb, &place, sub, body, now);
        text(&written.unwrap().1, "/metadata/uid").to_owned()
    }

    /// What was broken so far ends with this.
    fn tells(&self, what: &str) {
        let broken = self.net.all_broken();
        let told = broken.last().is_some_and(|last| last.contains(what));
        assert!(told, "{what}: {broken:#?}");
    }

    fn is_quiet(&self) {
        assert_eq!(self.net.all_broken(), Vec::<String>::new());
    }
}

fn app() -> Value {
    json!({ "spec": user::spec(&json!({})) })
}

#[test]
fn a_write_that_no_plan_names() {
    let world = World::new();
    let uid = world.write("user", Verb::Post, "PortfolioApp", "web", &app());
    let patch = |replicas: i64| json!({ "spec": { "replicas": replicas } });
    let write = |body: &Value| world.write(EXECUTOR, Verb::Merge, "PortfolioApp", "web", body);
    world
        .records
        .taken(EXECUTOR, "sb.plan.sim.x", uid.as_bytes());
    write(&patch(7));
    world.is_quiet();
    world
        .records
        .taken(EXECUTOR, "sb.plan.sim.x", b"another's uid");
    write(&patch(8));
    world.tells("which none of its plans names");
}

#[test]
fn a_secret_in_an_object_or_a_message() {
    let world = World::new();
    let data = json!({ "data": { "url": PASSWORD } });
    world.write("user", Verb::Post, "Secret", "db", &data);
    world.is_quiet();
    world.write("user", Verb::Post, "ConfigMap", "db", &data);
    world.tells("a secret stands in");
    assert!(world.records.leaks(format!("see {PASSWORD}").as_bytes()));
    assert!(!world.records.leaks(b"nothing"));
}

#[test]
fn a_trigger_twice_and_after_a_later_one() {
    let world = World::new();
    world.write("user", Verb::Post, "PortfolioApp", "web", &app());
    let apply = |id: &str, second: u32| {
        let time = format!("2026-01-01T00:00:{second:02}Z");
        let annotations =
            json!({ "signalbox.dev/trigger": id, "signalbox.dev/trigger-time": time });
        let body = json!({ "metadata": { "annotations": annotations } });
        world.write("user", Verb::Merge, "PortfolioApp", "web", &body);
    };
    apply("a", 10);
    apply("b", 11);
    world.is_quiet();
    apply("a", 12);
    world.tells("applies trigger a to PortfolioApp team/web a second time");
    apply("c", 5);
    world.tells("after a later one");
    let answer = |id: &str| {
        let body = json!({ "trigger": id, "result": "applied" });
        ("_INBOX.x".to_owned(), body.to_string().into_bytes())
    };
    let answers = [answer("a"), answer("never")];
    assert_eq!(
        world.oracle.false_answers(&answers),
        ["trigger never was answered as applied, and is not"]
    );
}

fn job(uid: &str, file: &str) -> Job {
    let second = Duration::from_secs(1);
    Job {
        url: ConnectionUrl::parse("postgres://u:p@db:5432/app").unwrap(),
        history_schema: "signalbox".to_owned(),
        file: file.to_owned(),
        version: "1".to_owned(),
        sha256: String::new(),
        sql: String::new(),
        limits: Limits {
            lock: second,
            statement: second,
            history_lock: second,
        },
        author: Author {
            executor: EXECUTOR.to_owned(),
            namespace: NAMESPACE.to_owned(),
            name: "web-schema".to_owned(),
            uid: uid.to_owned(),
            step_id: StepId::new(uid, "migrate-1", "x"),
            attempt: 1,
            reconcile_id: ReconcileId(Uuid::nil()),
        },
    }
}

fn migration(files: &[&str], release: &Value) -> Value {
    let files: Vec<Value> = files.iter().map(|name| json!({ "name": name })).collect();
    json!({ "spec": { "app": "web", "files": files, "contract": "Auto", "release": release } })
}

fn revision(hash: &str) -> Value {
    json!({ "metadata": { "labels": {
        "signalbox.dev/owner": "web", "signalbox.dev/revision": hash,
    } } })
}

fn service(hash: &str) -> Value {
    json!({
        "metadata": { "labels": { "signalbox.dev/owner": "web" } },
        "spec": { "selector": { format!("serves.signalbox.dev/{hash}"): "true" } },
    })
}

fn turned_to(hash: &str) -> Value {
    json!({ "spec": { "selector": {
        "serves.signalbox.dev/old": null, "serves.signalbox.dev/new": null,
        format!("serves.signalbox.dev/{hash}"): "true",
    } } })
}

#[test]
fn a_commit_without_start_and_claim_or_out_of_order() {
    let world = World::new();
    let body = migration(&["V1__a.sql", "V2__b.sql"], &json!(null));
    let uid = world.write("user", Verb::Post, "DatabaseMigration", "web-schema", &body);
    world.oracle.commits(EXECUTOR, &job(&uid, "V2__b.sql"), &[]);
    let broken = world.net.all_broken().join("\n");
    for what in [
        "before its start is on record",
        "before it is claimed",
        "commits V2__b.sql before V1__a.sql",
    ] {
        assert!(broken.contains(what), "{what}: {broken}");
    }
}

#[test]
fn contract_before_its_release_or_under_an_older_revision() {
    let world = World::new();
    let file = "V1__contract.sql";
    let body = migration(&[file], &json!(null));
    let uid = world.write("user", Verb::Post, "DatabaseMigration", "web-schema", &body);
    world.oracle.commits(EXECUTOR, &job(&uid, file), &[]);
    world.tells("is released, contract Auto");
    world.write(
        "user",
        Verb::Post,
        "Deployment",
        "web-old",
        &revision("old"),
    );
    world.write(
        "user",
        Verb::Post,
        "Deployment",
        "web-new",
        &revision("new"),
    );
    world.write("user", Verb::Post, "Service", "web", &service("old"));
    let release = json!({ "spec": { "release": { "phase": "Contract", "revision": "new" } } });
    world.write(
        "user",
        Verb::Merge,
        "DatabaseMigration",
        "web-schema",
        &release,
    );
    world.oracle.commits(EXECUTOR, &job(&uid, file), &[]);
    world.tells("while old serves");
    world.write("user", Verb::Merge, "Service", "web", &turned_to("new"));
    world.write(EXECUTOR, Verb::Merge, "Service", "web", &turned_to("old"));
    world.tells("whose columns were dropped");
}

/// Seed 40996: an app went at the very moment of its promotion, and its new pods before its Service.
#[test]
fn traffic_goes_to_a_revision_without_a_pod() {
    for (app_is_there, pods, told) in [(true, 0, true), (true, 1, false), (false, 0, false)] {
        let world = World::new();
        if app_is_there {
            world.write("user", Verb::Post, "PortfolioApp", "web", &app());
        }
        for (hash, pods) in [("old", 1), ("new", pods)] {
            let name = format!("web-{hash}");
            world.write("user", Verb::Post, "Deployment", &name, &revision(hash));
            let status = json!({ "status": { "availableReplicas": pods } });
            let (verb, sub) = (Verb::Merge, Sub::Status);
            world.write_sub("user", verb, "Deployment", &name, sub, &status);
        }
        world.write("user", Verb::Post, "Service", "web", &service("old"));
        world.write(EXECUTOR, Verb::Merge, "Service", "web", &turned_to("new"));
        let broken = world.net.all_broken();
        let lost = "goes from old to new, which has no pod";
        let is_told = broken.iter().any(|line| line.contains(lost));
        assert_eq!(is_told, told, "{app_is_there} {pods}: {broken:?}");
    }
}
