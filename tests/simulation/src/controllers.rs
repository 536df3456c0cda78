//! The rest of the cluster: pods come up (or never, for a bad image), orphans are collected.
//!
//! A small actor on the model, with delays by chance. Decides nothing about Signalbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::api::json::{number, text};
use crate::api::store::{Deed, Place};
use crate::api::write::{Sub, Verb};
use crate::api::{ANY, Server};
use crate::net::Net;

/// Pods of an image with this in its name never become ready.
pub const BAD: &str = "bad";

/// The pods of a Deployment, as its status tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pods {
    generation: i64,
    wanted: i64,
    ready: i64,
}

impl Pods {
    fn status(self) -> Value {
        let Self {
            generation,
            wanted,
            ready,
        } = self;
        json!({ "status": {
            "observedGeneration": generation, "replicas": wanted, "updatedReplicas": wanted,
            "readyReplicas": ready, "availableReplicas": ready,
        } })
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// A Deployment's status.
    Status(Pods),
    /// An orphan's deletion.
    Collect,
}

/// Works until it is aborted.
pub async fn run(server: Arc<Server>, net: Arc<Net>) {
    let mut due: BTreeMap<Place, (Instant, Duty)> = BTreeMap::new();
    let mut seen = 0;
    loop {
        for (place, duty) in news(&server, &mut seen) {
            if due.get(&place).map(|(_, known)| known) == duty.as_ref() {
                continue;
            }
            due.remove(&place);
            let Some(duty) = duty else { continue };
            let millis = net.chance(|random| match duty {
                Duty::Status(_) => random.between(20, 1500),
                Duty::Collect => random.between(5, 300),
            });
            due.insert(
                place,
                (Instant::now() + Duration::from_millis(millis), duty),
            );
        }
        let first = due.values().map(|(at, _)| *at).min();
        let Some(first) = first else {
            server.changed(ANY, seen).await;
            continue;
        };
        tokio::select! {
            biased;
            () = server.changed(ANY, seen) => {}
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
        Duty::Status(status) => (Verb::Merge, Sub::Status, status.status()),
        Duty::Collect => (Verb::Delete, Sub::Whole, Value::Null),
    };
    let done = server.write("controllers", verb, place, sub, &body, net.now());
    let code = done.err().map_or(200, |refusal| refusal.code);
    net.note(format_args!("controllers {verb:?} {place} -> {code}"));
}

/// What changed since `seen`, each with what is to be done about it now; everything after an object is gone,
/// for it may have owned any other.
fn news(server: &Server, seen: &mut u64) -> Vec<(Place, Option<Duty>)> {
    let store = server.store();
    let changes = store.since(*seen);
    let is_all = *seen < store.compacted()
        || changes
            .iter()
            .any(|change| change.deed == Deed::Deleted && change.place.resource.kind != "Lease");
    *seen = store.version();
    let duty = |object: &Value, place: &Place| {
        if store.is_orphan(object) {
            return Some(Duty::Collect);
        }
        let is_deployment = place.resource.kind == "Deployment";
        is_deployment
            .then(|| next_status(object))
            .flatten()
            .map(Duty::Status)
    };
    if is_all {
        let all = store.everything();
        let mut all: BTreeMap<Place, Option<Duty>> = all
            .map(|(place, object)| (place.clone(), duty(object, place)))
            .collect();
        for change in changes {
            all.entry(change.place.clone()).or_default();
        }
        return all.into_iter().collect();
    }
    let places: BTreeSet<&Place> = changes.iter().map(|change| &change.place).collect();
    let of = |place: &Place| {
        let object = store.get(place)?;
        duty(&object, place)
    };
    places
        .into_iter()
        .map(|place| (place.clone(), of(place)))
        .collect()
}

/// The next status of a Deployment: first its pods are there, then they are ready.
fn next_status(deployment: &Value) -> Option<Pods> {
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
    let next = Pods {
        generation,
        wanted,
        ready,
    };
    let now = ["replicas", "updatedReplicas"].map(status) == [wanted; 2]
        && ["readyReplicas", "availableReplicas"].map(status) == [ready; 2]
        && status("observedGeneration") == generation;
    (!now).then_some(next)
}
