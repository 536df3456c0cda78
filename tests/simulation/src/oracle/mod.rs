//! What must be true: of every change as it happens, and of the state in the end.
//!
//! Knows nothing of how the parts work; it looks at objects alone.

pub mod records;
mod rest;
mod schema;
mod triggers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use signalbox_crds::names::{
    ANNOTATION_RECONCILE, LABEL_OWNER, LABEL_OWNER_UID, LABEL_REVISION, LABEL_SERVES_PREFIX,
};

use self::records::Records;
use crate::api::Server;
use crate::api::json::{number, text};
use crate::api::store::{Change, Deed, Kept, Place};
use crate::net::Net;

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    /// Newest generation that a status told, by uid.
    observed: BTreeMap<String, i64>,
    /// Uids of apps that took their volume with them.
    took_volume: BTreeSet<String>,
    /// Creations and deletions of each child.
    counts: BTreeMap<String, (u64, u64)>,
    /// Writes of executors.
    writes: u64,
    schema: schema::Seen,
    triggers: triggers::Seen,
}

/// Looks at every change.
pub struct Oracle {
    server: Weak<Server>,
    net: Arc<Net>,
    records: Arc<Records>,
    seen: Mutex<Seen>,
}

impl Oracle {
    /// Begins to look.
    pub fn watch(server: &Arc<Server>, net: &Arc<Net>, records: &Arc<Records>) -> Arc<Self> {
        let oracle = Arc::new(Self {
            server: Arc::downgrade(server),
            net: net.clone(),
            records: records.clone(),
            seen: Mutex::default(),
        });
        let eye = oracle.clone();
        server.show(Box::new(move |who, change| eye.see(who, change)));
        oracle
    }

    /// Creations and deletions of each child, by kind and name.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, (u64, u64)> {
        self.lock().counts.clone()
    }

    /// Writes of executors so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, who: &str, change: &Change) {
        let kind = change.place.resource.kind;
        let by_executor = who.starts_with("executor");
        if by_executor && kind != "Lease" {
            self.lock().writes += 1;
        }
        if !change.place.resource.custom && kind != "Lease" && kind != "Event" {
            let count = |add: fn(&mut (u64, u64))| {
                add(self
                    .lock()
                    .counts
                    .entry(change.place.to_string())
                    .or_default());
            };
            match change.deed {
                Deed::Added => count(|(added, _)| *added += 1),
                Deed::Deleted => count(|(_, deleted)| *deleted += 1),
                Deed::Modified => {}
            }
        }
        if kind != "Secret" && self.records.leaks(change.object.text()) {
            self.net
                .broken(format!("{who}: a secret stands in {}", change.place));
        }
        if by_executor && kind != "Lease" && kind != "Event" {
            self.object_is_the_plans(who, change);
        }
        if change.place.resource.custom {
            self.status_never_goes_back(who, change);
        }
        if kind == "PortfolioApp" {
            self.trigger_changes(who, change);
        }
        self.schema_changes(who, change);
        if kind == "Service" && by_executor && change.deed == Deed::Modified {
            self.promotion_has_evidence(change);
        }
    }

    /// I3: no write to an object whose uid, or whose owner's, no plan of the executor names.
    fn object_is_the_plans(&self, who: &str, change: &Change) {
        let object = &change.object;
        let uid = if change.place.resource.custom {
            text(object, "/metadata/uid")
        } else {
            label(object, LABEL_OWNER_UID)
        };
        if !self.records.names(who, uid) {
            self.net.broken(format!(
                "{who} writes {} of {uid}, which none of its plans names",
                change.place
            ));
        }
        let flight = object
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(ANNOTATION_RECONCILE))
            .and_then(Value::as_str);
        for entry in ["event", "plan"] {
            if let Some(flight) = flight
                && !self.records.has(flight, entry)
            {
                self.net.broken(format!(
                    "{who} writes {} before the {entry} of {flight} is on record",
                    change.place
                ));
            }
        }
    }

    /// I2: no write for an older generation after one for a newer.
    fn status_never_goes_back(&self, who: &str, change: &Change) {
        let object = &change.object;
        let uid = text(object, "/metadata/uid").to_owned();
        if change.deed == Deed::Deleted {
            if text(object, "/spec/deletion/storage") == "Delete" {
                self.lock().took_volume.insert(uid);
            }
            return;
        }
        let told = number(object, "/status/observedGeneration").unwrap_or(-1);
        let generation = number(object, "/metadata/generation").unwrap_or(0);
        if told > generation {
            self.net.broken(format!(
                "{who}: {} tells generation {told} of {generation}",
                change.place
            ));
        }
        let before = self.lock().observed.insert(uid, told).unwrap_or(-1);
        if told < before {
            self.net.broken(format!(
                "{who}: {} tells generation {told} after {before}",
                change.place
            ));
        }
    }

    /// I4: traffic goes to another revision only while pods of it serve.
    fn promotion_has_evidence(&self, change: &Change) {
        let before = change.before.as_ref().and_then(|before| served(before));
        let (Some(before), Some(now)) = (before, served(&change.object)) else {
            return;
        };
        let Some(api) = self.server.upgrade() else {
            return;
        };
        if before == now {
            return;
        }
        let store = api.store();
        let revision = |revision: &str| {
            store.everything().find(|(place, object)| {
                place.resource.kind == "Deployment"
                    && place.namespace == change.place.namespace
                    && label(object, LABEL_REVISION) == revision
                    && label(object, LABEL_OWNER) == label(&change.object, LABEL_OWNER)
            })
        };
        let serves = |of: Option<(&Place, &Arc<Kept>)>| {
            of.is_some_and(|(_, object)| {
                number(object, "/status/availableReplicas").unwrap_or(0) > 0
            })
        };
        let (old, new) = (revision(&before), revision(&now));
        let app = Place {
            name: label(&change.object, LABEL_OWNER).to_owned(),
            ..Place::of("PortfolioApp", &change.place.namespace, "")
                .unwrap_or_else(|| change.place.clone())
        };
        // An app that is gone has no traffic: whoever collects its children may come between.
        let Some(app) = store.get(&app) else {
            return;
        };
        // Without a pod of the old one there is nothing to lose, and without wanted ones nothing to gain.
        if number(&app, "/spec/replicas") != Some(0) && serves(old) && !serves(new) {
            drop(store);
            self.net.broken(format!(
                "{} goes from {before} to {now}, which has no pod",
                change.place
            ));
        }
    }
}

/// The revision that a Service selects.
fn served(service: &Value) -> Option<String> {
    let selector = service.pointer("/spec/selector")?.as_object()?;
    let label = selector
        .keys()
        .find_map(|key| key.strip_prefix(LABEL_SERVES_PREFIX));
    label.map(str::to_owned)
}

fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    let labels = object.pointer("/metadata/labels");
    labels
        .and_then(|labels| labels.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}
