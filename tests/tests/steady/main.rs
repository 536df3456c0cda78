//! Faults that last, each ending with every app at its newest generation and nothing in flight. The figures that they give
//! are printed, one on a line: `FIGURE <name> <value> <unit>`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

mod away;
mod bus_away;
mod bus_lost;
mod clocks;
mod failover;
mod gone;
mod guards;
mod long_work;
mod poison;
mod refusals;
mod revoked;
mod scaled;
mod silent;
mod stopped;
mod tenants;
mod upgrade;

use std::time::Duration;

use serde_json::json;
use signalbox_proxy::trace::Entry;
use signalbox_tests::figures::long_form;
use signalbox_tests::fixtures::app;
use signalbox_tests::objects::ready;
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(3);
const QUIET: Duration = Duration::from_secs(1);
const LINES: &str = "  replicas: 2\n  config: { LEVEL: info }\n  rollout: { steps: [{ weight: 50 }], drainSeconds: 0 }";

async fn world(name: &str) -> World {
    let options = WorldOptions {
        controllers: true,
        postgres: false,
    };
    World::start(name, options).await
}

async fn proxied(world: &World, part: Part) -> ProxiedPart {
    let nats = world.cluster.nats_url().unwrap();
    let mut part = ProxiedPart::new(world, part, nats, None, &[]).await;
    part.start(world);
    part
}

/// So many seconds, as the environment says or else these.
fn seconds_of(variable: &str, otherwise: u64) -> Duration {
    let told = std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap());
    Duration::from_secs(told)
}

/// How often something is tried of which percentiles are wanted.
fn rounds() -> usize {
    if long_form() { 20 } else { 5 }
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("orders-{number}"))
        .collect()
}

async fn create(world: &World, objects: &Objects, names: &[String]) {
    let document = |name: &String| app(&objects.namespace, name, "example/orders:1", LINES);
    let documents: Vec<_> = names.iter().map(document).collect();
    world.apply(&documents.join("---")).await;
}

async fn set(objects: &Objects, names: &[String], image: &str) {
    for name in names {
        let patch = json!({"spec": {"image": image}});
        objects.patch("papp", name, patch).await;
    }
}

/// Waits until all apps serve their newest generation from one revision, and nothing is in flight.
async fn all_serve(world: &World, objects: &Objects) {
    let bus = world.bus().await;
    eventually("all serve the newest", PATIENCE, || async {
        for app in objects.list("papp").await {
            let status = &app["status"];
            let rolled = status["stable"] == status["revision"] && status["nextWake"].is_null();
            if ready(&app).is_err() || !rolled || status["lastFailure"].is_object() {
                return Err(format!("{}: {status}", app["metadata"]["name"]));
            }
        }
        bus.is_free().await
    })
    .await;
}

fn requests(trace: &[Entry]) -> Vec<&Entry> {
    let own = trace.iter().filter(|entry| entry.step.starts_with("api "));
    own.collect()
}
