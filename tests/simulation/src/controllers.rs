//! The rest of the cluster: pods come up (or never, for a bad image), orphans are collected.
//!
//! A small actor on the model, with delays by chance. Decides nothing about Signalbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::api::Server;
use crate::api::json::{number, text};
use crate::api::store::Place;
use crate::api::write::{Sub, Verb};
use crate::net::Net;

/// Pods of an image with this in its name never become ready.
pub const BAD: &str = "bad";

/// What is due.
#[derive(Clone, Debug, PartialEq)]
enum Duty {
    /// A Deployment's status.
    Status(Value),
    /// An orphan's deletion.
    Collect,
}

/// Works until it is aborted.
pub async fn run(server: Arc<Server>, net: Arc<Net>) {
    let mut due: BTreeMap<Place, (Instant, Duty)> = BTreeMap::new();
    loop {
        let (seen, open) = duties(&server);
        due.retain(|place, (_, duty)| open.iter().any(|(of, is)| of == place && is == duty));
        for (place, duty) in open {
            let now = Instant::now();
            due.entry(place).or_insert_with(|| {
                let millis = net.chance(|random| match duty {
                    Duty::Status(_) => random.between(20, 1500),
                    Duty::Collect => random.between(5, 300),
                });
                (now + Duration::from_millis(millis), duty)
            });
        }
        let first = due.values().map(|(at, _)| *at).min();
        let Some(first) = first else {
            server.changed(seen).await;
            continue;
        };
        tokio::select! {
            biased;
            () = server.changed(seen) => {}
            () = sleep_until(first) => {
                let now = Instant::now();
                let ready: Vec<Place> =
                    due.iter().filter(|(_, (at, _))| *at <= now).map(|(place, _)| place.clone()).collect();
                for place in ready {
                    if let Some((_, duty)) = due.remove(&place) {
                        act(&server, &net, &place, &duty);
                    }
                }
            }
        }
    }
}

fn act(server: &Server, net: &Net, place: &Place, duty: &Duty) {
    let (verb, sub, body) = match duty {
        Duty::Status(status) => (Verb::Merge, Sub::Status, json!({ "status": status })),
        Duty::Collect => (Verb::Delete, Sub::Whole, Value::Null),
    };
    let done = server.write("controllers", verb, place, sub, &body, net.now());
    let result = done.map_or_else(|refusal| refusal.code.to_string(), |_| "ok".to_owned());
    net.note(&format!("controllers {verb:?} {place} -> {result}"));
}

/// The version that was looked at, and what is to be done.
fn duties(server: &Server) -> (u64, Vec<(Place, Duty)>) {
    let store = server.store();
    let mut duties = Vec::new();
    for (place, object) in store.everything() {
        if store.is_orphan(object) {
            duties.push((place.clone(), Duty::Collect));
        } else if place.resource.kind == "Deployment"
            && let Some(status) = next_status(object)
        {
            duties.push((place.clone(), Duty::Status(status)));
        }
    }
    (store.version(), duties)
}

/// The next status of a Deployment: first its pods are there, then they are ready.
fn next_status(deployment: &Value) -> Option<Value> {
    let wanted = number(deployment, "/spec/replicas").unwrap_or(1);
    let status = |field: &str| number(deployment, &format!("/status/{field}")).unwrap_or(0);
    let generation = number(deployment, "/metadata/generation").unwrap_or(0);
    let image = text(deployment, "/spec/template/spec/containers/0/image");
    let able = if image.contains(BAD) { 0 } else { wanted };
    let ready = if status("observedGeneration") == generation && status("replicas") == wanted {
        able
    } else {
        status("readyReplicas").min(able)
    };
    let now = json!({
        "observedGeneration": status("observedGeneration"), "replicas": status("replicas"),
        "updatedReplicas": status("updatedReplicas"), "readyReplicas": status("readyReplicas"),
        "availableReplicas": status("availableReplicas"),
    });
    let next = json!({
        "observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted,
        "readyReplicas": ready, "availableReplicas": ready,
    });
    (now != next).then_some(next)
}
