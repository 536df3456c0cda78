//! What people do: create, change, scale and delete apps, and meddle with their children.
//!
//! Decides the bodies; when, and in which order, is a matter of the seed.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_crds::PortfolioAppSpec;

use crate::api::json::text;
use crate::api::store::Place;
use crate::api::write::{Sub, Verb};
use crate::api::{Refusal, Server};

/// Namespace of all apps.
pub const NAMESPACE: &str = "team";

/// What a person does to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new app, with these fields beside the usual ones.
    Create(Value),
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
    match wish {
        Wish::Create(fields) => write(Verb::Post, &place, &json!({ "spec": spec(fields) })),
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
        "rollout": { "drainSeconds": 2, "progressDeadlineSeconds": 8 },
    });
    crate::api::json::merge(&mut spec, fields);
    let typed = serde_json::from_value::<PortfolioAppSpec>(spec.clone());
    typed
        .ok()
        .and_then(|typed| serde_json::to_value(typed).ok())
        .unwrap_or(spec)
}
