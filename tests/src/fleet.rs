//! Many minimal apps in one namespace: made, changed, and waited for.
//!
//! Decides what they are called and when they are settled; never what they may cost.

use std::time::Duration;

use serde_json::{Value, json};

use crate::fixtures::minimal;
use crate::objects::Objects;
use crate::wait::eventually;
use crate::world::World;

/// Documents of one request: kubectl reads them all before it sends the first.
const CHUNK: usize = 100;

/// Name of the app with this number.
#[must_use]
pub fn name(number: usize) -> String {
    format!("app-{number}")
}

/// Makes so many minimal apps.
pub async fn create(world: &World, objects: &Objects, apps: usize) {
    let documents: Vec<String> = (0..apps)
        .map(|n| minimal(&objects.namespace, &name(n), "example/orders:1"))
        .collect();
    for chunk in documents.chunks(CHUNK) {
        world.apply(&chunk.join("---")).await;
    }
}

/// Changes the configuration of an app; no two words give the same.
pub async fn update(objects: &Objects, number: usize, word: &str) {
    let patch = json!({"spec": {"config": {"ROUND": word}}});
    objects.patch("papp", &name(number), patch).await;
}

/// Whether the status is of the newest generation.
#[must_use]
pub fn is_current(app: &Value) -> bool {
    app["status"]["observedGeneration"] == app["metadata"]["generation"]
}

/// Waits until every app's status has its newest generation and no flight is open.
pub async fn settles(world: &World, objects: &Objects, limit: Duration) {
    let bus = world.bus().await;
    let what = "every app at its newest generation, nothing in flight";
    eventually(what, limit, || async {
        let apps = objects.list("papp").await;
        let behind: Vec<&Value> = apps.iter().filter(|app| !is_current(app)).collect();
        let open = bus.open().await;
        if behind.is_empty() && open == 0 {
            return Ok(());
        }
        let first = behind.first().map(|app| {
            let (meta, status) = (&app["metadata"], &app["status"]);
            format!(
                "{} {} {}",
                meta["name"], meta["generation"], status["observedGeneration"]
            )
        });
        Err(format!("{} behind, {open} open: {first:?}", behind.len()))
    })
    .await;
}
