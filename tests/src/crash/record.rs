//! How often each object was created and deleted, from watches of a namespace.
//!
//! Every incarnation has a uid of its own, so none is counted twice and none that a watch saw is missed.
//! The audit log does not do here: it lacks the answer of a request whose sender died.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use kube::api::{Api, DynamicObject, WatchEvent, WatchParams};
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

/// The version from which a watch begins with all that is there.
const BEGINNING: &str = "0";

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
            tokio::spawn(async move {
                let mut version = BEGINNING.to_owned();
                loop {
                    version = watch(kind, &api, &all, version).await;
                }
            })
            .abort_handle()
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

/// One watch from `version` until it ends; returns where the next one goes on: from the beginning, a deletion
/// between the two would not be seen.
async fn watch(
    kind: &'static str,
    api: &Api<DynamicObject>,
    all: &Mutex<All>,
    mut version: String,
) -> String {
    let params = WatchParams::default().timeout(290);
    let Ok(stream) = api.watch(&params, &version).await else {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        return version;
    };
    let mut stream = std::pin::pin!(stream);
    while let Some(Ok(event)) = stream.next().await {
        let (object, deleted) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
            WatchEvent::Deleted(object) => (object, true),
            WatchEvent::Bookmark(mark) => {
                version = mark.metadata.resource_version;
                continue;
            }
            // That version is compacted.
            WatchEvent::Error(_) => return BEGINNING.to_owned(),
        };
        if let Some(seen) = &object.metadata.resource_version {
            version.clone_from(seen);
        }
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
    version
}
