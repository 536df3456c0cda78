//! How often each object was created and deleted, from watches of a namespace.
//!
//! Every incarnation has a uid of its own, so none is counted twice and none that a watch saw is missed.
//! The audit log does not do here: it lacks the answer of a request whose sender died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::task::AbortHandle;

use crate::objects::Objects;

/// Kinds that are counted. Leases are not: each attempt of a step makes one. Pods are not: they are the
/// Deployment controller's.
const KINDS: [&str; 7] = [
    "papp",
    "dbm",
    "deployment",
    "service",
    "configmap",
    "pvc",
    "event",
];

#[derive(Default)]
struct Counts {
    created: BTreeSet<String>,
    deleted: BTreeSet<String>,
}

/// By kind and name.
type All = BTreeMap<(&'static str, String), Counts>;

/// The record of one namespace.
pub(super) struct Record {
    all: Arc<Mutex<All>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Record {
    pub(super) fn begin(objects: &Objects) -> Self {
        let all = Arc::new(Mutex::<All>::default());
        let tasks = KINDS.map(|kind| {
            let (api, all) = (objects.api(kind), all.clone());
            tokio::spawn(async move { watch(kind, api, &all).await }).abort_handle()
        });
        Self {
            all,
            tasks: tasks.into(),
        }
    }

    /// Lines `created|deleted kind name` with their counts, of objects whose name begins with `name`.
    pub(super) fn of(&self, name: &str) -> Vec<(String, usize)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = BTreeMap::<String, usize>::new();
        for ((kind, object), counts) in all.iter() {
            if !object.starts_with(name) {
                continue;
            }
            // The name of an Event is what it is about and an id; others tell of pods.
            let object = match (*kind, object.split_once('.')) {
                ("event", Some((about, _))) if about == name => about,
                ("event", _) => continue,
                (_, _) => object,
            };
            for (word, uids) in [("created", &counts.created), ("deleted", &counts.deleted)] {
                if !uids.is_empty() {
                    *lines.entry(format!("{word} {kind} {object}")).or_default() += uids.len();
                }
            }
        }
        lines.into_iter().collect()
    }
}

/// Watches a kind for good: a watch that ends is taken up where it ended, so that no deletion is missed.
async fn watch(kind: &'static str, api: Api<DynamicObject>, all: &Mutex<All>) {
    let mut events = watcher(api, Config::default()).default_backoff().boxed();
    while let Some(event) = events.next().await {
        let (object, deleted) = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
            Ok(Event::Delete(object)) => (object, true),
            Ok(Event::Init | Event::InitDone) | Err(_) => continue,
        };
        // Other controllers tell of the same objects.
        if kind == "event" && object.data["reportingController"] != "signalbox.dev/executor" {
            continue;
        }
        let (Some(name), Some(uid)) = (object.metadata.name, object.metadata.uid) else {
            continue;
        };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry((kind, name)).or_default();
        if deleted {
            counts.deleted.insert(uid.clone());
        }
        counts.created.insert(uid);
    }
}
