//! The measurer's own watches: when a change of an object was seen. A connection of its own each.

use std::collections::HashMap;
use std::time::Instant;

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::field::{PATIENCE, app_of};

/// The server ends a watch after this many seconds; it is taken up where it ended.
const WATCH_SECONDS: u32 = 290;

/// An object as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When its event arrived.
    pub(crate) at: Instant,
    /// Name.
    pub(crate) name: String,
    /// Uid.
    pub(crate) uid: String,
    /// `metadata.generation`.
    pub(crate) generation: i64,
    /// `status.observedGeneration`.
    pub(crate) observed: i64,
    /// `spec.replicas`.
    pub(crate) replicas: i64,
}

/// A watch of one kind.
pub(crate) struct Eye {
    seen: mpsc::UnboundedReceiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Eye {
    /// Sees every change from now on.
    pub(crate) async fn open(api: Api<DynamicObject>) -> Self {
        let list = api.list(&ListParams::default()).await.expect("a list");
        let version = list
            .metadata
            .resource_version
            .expect("a list has a version");
        let (tell, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(look(api, version, tell));
        Self { seen, task }
    }

    /// The next object for which `wanted` holds.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.seen.recv());
            let next = next.await.unwrap_or_else(|_| {
                let patience = PATIENCE.as_secs();
                panic!("what was waited for was not seen within {patience} s")
            });
            let next = next.expect("a watch");
            if wanted(&next) {
                return next;
            }
        }
    }

    /// The Deployment of an app once it asks for so many pods.
    pub(crate) async fn until_replicas(&mut self, app: &str, replicas: i64) -> Seen {
        self.until(|seen| app_of(&seen.name) == app && seen.replicas == replicas)
            .await
    }

    /// When the last of `wanted` (generation by name) was seen with this generation observed.
    pub(crate) async fn until_observed(&mut self, mut wanted: HashMap<String, i64>) -> Instant {
        let mut last = Instant::now();
        while !wanted.is_empty() {
            let seen = self.until(|seen| wanted.contains_key(&seen.name)).await;
            if wanted.get(&seen.name).is_some_and(|g| seen.observed >= *g) {
                wanted.remove(&seen.name);
                last = seen.at;
            }
        }
        last
    }
}

/// Until the server is gone; who still waits for an event then learns that there is no watch.
async fn look(api: Api<DynamicObject>, mut version: String, tell: mpsc::UnboundedSender<Seen>) {
    let params = WatchParams::default().timeout(WATCH_SECONDS);
    loop {
        let Ok(events) = api.watch(&params, &version).await else {
            return;
        };
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let at = Instant::now();
            let object = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => object,
                Ok(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => continue,
                Ok(WatchEvent::Error(_)) | Err(_) => return,
            };
            version = object.metadata.resource_version.clone().unwrap_or(version);
            if tell.send(seen(at, &object)).is_err() {
                return;
            }
        }
    }
}

fn seen(at: Instant, object: &DynamicObject) -> Seen {
    let number = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_i64);
    Seen {
        at,
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        observed: number("/status/observedGeneration").unwrap_or(-1),
        replicas: number("/spec/replicas").unwrap_or(-1),
    }
}
