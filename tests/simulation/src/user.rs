//! What people do: create, change, scale and delete apps, and meddle with their children.
//!
//! Decides the bodies; when, and in which order, is a matter of the seed.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use signalbox_crds::names::ANNOTATION_COMMAND;
use signalbox_crds::{DatabaseMigrationSpec, PortfolioAppSpec};

use crate::api::json::text;
use crate::api::store::Place;
use crate::api::write::{Sub, Verb};
use crate::api::{Refusal, Server};

/// Namespace of all apps.
pub const NAMESPACE: &str = "team";

/// The password in every connection URL; it must never cross the bus.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// What stands in the Secret of a migration.
fn url() -> ByteString {
    ByteString(format!("postgres://u:{PASSWORD}@db:5432/app").into_bytes())
}

/// What must stand nowhere else: the password, and the same as it stands in a Secret.
#[must_use]
pub fn secrets() -> Vec<String> {
    let encoded = |bytes: ByteString| {
        let encoded = serde_json::to_value(bytes).ok();
        encoded.and_then(|text| text.as_str().map(str::to_owned))
    };
    let mut secrets = vec![PASSWORD.to_owned()];
    secrets.extend(encoded(url()));
    secrets.extend(encoded(ByteString(PASSWORD.as_bytes().to_vec())));
    secrets
}

/// What a person does to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new app, with these fields beside the usual ones.
    Create(Value),
    /// A migration for it, with a database, and these files; `contract` in a name is its phase.
    Migrate(Vec<String>),
    /// Whether its contract files run by themselves.
    Contract(bool),
    /// The end of its migration.
    DropMigration,
    /// A command to its migration.
    Command(String),
    /// A change of the spec.
    Change(Value),
    /// An annotation.
    Annotate(&'static str, String),
    /// Its end.
    Delete,
    /// A child is deleted, or its data, replicas or labels are changed.
    Meddle(Meddling),
}

/// What is done to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddling {
    /// One of its children is deleted.
    Delete(&'static str),
    /// Another value stands in its `ConfigMap`.
    Config,
    /// Its Deployment gets another number of pods.
    Replicas,
    /// Its Service selects nothing.
    Selector,
}

/// Does it; a refusal is the person's problem.
pub fn act(server: &Server, app: &str, wish: &Wish, now: Timestamp) -> Result<(), Refusal> {
    let unknown = || Refusal::new(404, "no such kind");
    let place = Place::of("PortfolioApp", NAMESPACE, app).ok_or_else(unknown)?;
    let write = |verb, place: &Place, body: &Value| {
        server
            .write("user", verb, place, Sub::Whole, body, now)
            .map(|_| ())
    };
    let schema = Place::of("DatabaseMigration", NAMESPACE, &schema_of(app));
    match wish {
        Wish::Create(fields) => write(Verb::Post, &place, &json!({ "spec": spec(fields) })),
        Wish::Migrate(files) => migrate(server, app, files, now),
        Wish::Contract(by_itself) => {
            let policy = if *by_itself { "Auto" } else { "Manual" };
            let body = json!({ "spec": { "contract": policy } });
            write(Verb::Merge, &schema.ok_or_else(unknown)?, &body)
        }
        Wish::DropMigration => write(Verb::Delete, &schema.ok_or_else(unknown)?, &Value::Null),
        Wish::Command(command) => {
            let body = json!({ "metadata": { "annotations": { ANNOTATION_COMMAND: command } } });
            write(Verb::Merge, &schema.ok_or_else(unknown)?, &body)
        }
        Wish::Change(fields) => write(Verb::Merge, &place, &json!({ "spec": fields })),
        Wish::Annotate(name, value) => {
            let body = json!({ "metadata": { "annotations": { *name: value } } });
            write(Verb::Merge, &place, &body)
        }
        Wish::Delete => write(Verb::Delete, &place, &Value::Null),
        Wish::Meddle(meddling) => {
            let (kind, verb, body) = match meddling {
                Meddling::Delete(kind) => (*kind, Verb::Delete, Value::Null),
                Meddling::Config => (
                    "ConfigMap",
                    Verb::Merge,
                    json!({ "data": { "LEVEL": "meddled" } }),
                ),
                Meddling::Replicas => (
                    "Deployment",
                    Verb::Merge,
                    json!({ "spec": { "replicas": 7 } }),
                ),
                Meddling::Selector => (
                    "Service",
                    Verb::Merge,
                    json!({ "spec": { "selector": { "no": "pod" } } }),
                ),
            };
            let child =
                child(server, kind, app).ok_or_else(|| Refusal::new(404, "no such child"))?;
            write(verb, &child, &body)
        }
    }
}

fn schema_of(app: &str) -> String {
    format!("{app}-schema")
}

/// A Secret with a URL and a migration of the app, or other files of the one that is there.
fn migrate(server: &Server, app: &str, files: &[String], now: Timestamp) -> Result<(), Refusal> {
    let unknown = || Refusal::new(404, "no such kind");
    let name = schema_of(app);
    let place = Place::of("DatabaseMigration", NAMESPACE, &name).ok_or_else(unknown)?;
    let secret = Place::of("Secret", NAMESPACE, &name).ok_or_else(unknown)?;
    let files: Vec<Value> = files
        .iter()
        .map(|file| {
            let phase = if file.contains("contract") {
                "Contract"
            } else {
                "Expand"
            };
            json!({ "name": file, "phase": phase, "sql": format!("SELECT '{file}'") })
        })
        .collect();
    let write = |verb, place: &Place, body: &Value| {
        server
            .write("user", verb, place, Sub::Whole, body, now)
            .map(|_| ())
    };
    if server.store().get(&place).is_some() {
        return write(Verb::Merge, &place, &json!({ "spec": { "files": files } }));
    }
    if server.store().get(&secret).is_none() {
        write(Verb::Post, &secret, &json!({ "data": { "url": url() } }))?;
    }
    let spec = json!({
        "app": app, "files": files, "target": { "urlFrom": { "name": name, "key": "url" } },
    });
    let typed = serde_json::from_value::<DatabaseMigrationSpec>(spec.clone());
    let spec = typed
        .ok()
        .and_then(|typed| serde_json::to_value(typed).ok())
        .unwrap_or(spec);
    write(Verb::Post, &place, &json!({ "spec": spec }))
}

/// The first child of a kind.
fn child(server: &Server, kind: &str, app: &str) -> Option<Place> {
    let of_app = |object: &Value| text(object, "/metadata/labels/signalbox.dev~1owner") == app;
    let store = server.store();
    let mut children = store
        .everything()
        .filter(|(place, object)| place.resource.kind == kind && of_app(object));
    children.next().map(|(place, _)| place.clone())
}

/// A spec with what the CRD would default, written out.
#[must_use]
pub fn spec(fields: &Value) -> Value {
    let mut spec = json!({
        "image": "example.com/web:1",
        "replicas": 2,
        "ports": [{ "name": "http", "port": 8080, "servicePort": 80 }],
        "config": { "LEVEL": "info" },
        "rollout": { "drainSeconds": 2, "progressDeadlineSeconds": 60 },
    });
    crate::api::json::merge(&mut spec, fields);
    let typed = serde_json::from_value::<PortfolioAppSpec>(spec.clone());
    typed
        .ok()
        .and_then(|typed| serde_json::to_value(typed).ok())
        .unwrap_or(spec)
}
