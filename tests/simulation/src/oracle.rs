//! What must be true: of every change as it happens, and of the state in the end.
//!
//! Knows nothing of how the parts work; it looks at objects alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use signalbox_crds::names::{LABEL_OWNER, LABEL_OWNER_UID, LABEL_REVISION, LABEL_SERVES_PREFIX};

use crate::api::Server;
use crate::api::json::{number, text};
use crate::api::store::{Change, Deed, Place, terminating};
use crate::controllers::BAD;
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
}

/// Looks at every change.
pub struct Oracle {
    server: Weak<Server>,
    net: Arc<Net>,
    seen: Mutex<Seen>,
}

impl Oracle {
    /// Begins to look.
    pub fn watch(server: &Arc<Server>, net: &Arc<Net>) -> Arc<Self> {
        let oracle = Arc::new(Self {
            server: Arc::downgrade(server),
            net: net.clone(),
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
            let mut seen = self.lock();
            let count = seen.counts.entry(change.place.to_string()).or_default();
            match change.deed {
                Deed::Added => count.0 += 1,
                Deed::Deleted => count.1 += 1,
                Deed::Modified => {}
            }
        }
        if change.place.resource.custom {
            self.status_never_goes_back(who, change);
        }
        if kind == "Service" && by_executor && change.deed == Deed::Modified {
            self.promotion_has_evidence(change);
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
        let before = change.before.as_deref().and_then(served);
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
        let serves = |of: Option<(&Place, &Arc<Value>)>| {
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
        let wanted = store
            .get(&app)
            .and_then(|app| number(&app, "/spec/replicas"));
        // Without a pod of the old one there is nothing to lose, and without wanted ones nothing to gain.
        if wanted != Some(0) && serves(old) && !serves(new) {
            drop(store);
            self.net.broken(format!(
                "{} goes from {before} to {now}, which has no pod",
                change.place
            ));
        }
    }

    /// What is not yet as it must be in the end.
    #[must_use]
    pub fn missing(&self, server: &Server) -> Vec<String> {
        let store = server.store();
        let mut missing = Vec::new();
        for (place, object) in store.everything() {
            if place.resource.kind == "PortfolioApp" {
                let children: Vec<(&Place, &Arc<Value>)> = store
                    .everything()
                    .filter(|(of, child)| {
                        of.namespace == place.namespace
                            && !of.resource.custom
                            && label(child, LABEL_OWNER) == place.name
                    })
                    .collect();
                missing.extend(app(object, &children).map(|what| format!("{place}: {what}")));
            }
            if store.is_orphan(object) {
                missing.push(format!("{place} has no owner any more"));
            }
            let of = label(object, LABEL_OWNER_UID);
            if !of.is_empty() && self.lock().took_volume.contains(of) {
                missing.push(format!("{place} should have gone with its app"));
            }
        }
        missing
    }
}

/// What an app lacks, if anything.
fn app(app: &Value, children: &[(&Place, &Arc<Value>)]) -> Option<String> {
    if terminating(app) {
        return Some("is still being deleted".to_owned());
    }
    let (generation, told) = (
        number(app, "/metadata/generation"),
        number(app, "/status/observedGeneration"),
    );
    if generation != told {
        return Some(format!("generation {generation:?}, observed {told:?}"));
    }
    let (image, phase) = (text(app, "/spec/image"), text(app, "/status/phase"));
    if image.contains(BAD) {
        // Without pods even a bad image is ready; and there is no way back from what is stable.
        let wanted = number(app, "/spec/replicas").unwrap_or(1);
        let stable = text(app, "/status/stable");
        // What is stable may never have had a pod that had to work.
        let works = children.iter().any(|(place, child)| {
            place.resource.kind == "Deployment"
                && label(child, LABEL_REVISION) == stable
                && !text(child, "/spec/template/spec/containers/0/image").contains(BAD)
        });
        let alone = !works || stable == text(app, "/status/revision");
        let fits = phase == "RolledBack" || (alone && (phase != "Ready" || wanted == 0));
        return (!fits).then(|| format!("phase {phase} with an image that never works"));
    }
    if phase != "Ready" {
        return Some(format!(
            "phase {phase}: {}",
            text(app, "/status/lastDecision/reason")
        ));
    }
    if is_reconciling(app) {
        return Some("is still at work".to_owned());
    }
    let stable = text(app, "/status/stable");
    let wanted = number(app, "/spec/replicas").unwrap_or(1);
    let of_kind = |kind: &'static str| {
        children
            .iter()
            .filter(move |(place, _)| place.resource.kind == kind)
    };
    for (place, deployment) in of_kind("Deployment") {
        let is_stable = label(deployment, LABEL_REVISION) == stable;
        let replicas = number(deployment, "/spec/replicas").unwrap_or(1);
        if is_stable && text(deployment, "/spec/template/spec/containers/0/image") != image {
            return Some(format!("{place} has another image than {image}"));
        }
        if replicas != if is_stable { wanted } else { 0 } {
            return Some(format!("{place} has {replicas} pods, stable {is_stable}"));
        }
    }
    if !of_kind("Deployment").any(|(_, deployment)| label(deployment, LABEL_REVISION) == stable) {
        return Some(format!("no Deployment of {stable}"));
    }
    let service = of_kind("Service")
        .next()
        .and_then(|(_, service)| served(service));
    if service.as_deref() != Some(stable) {
        return Some(format!(
            "its Service sends to {service:?} instead of {stable}"
        ));
    }
    let level = text(app, "/spec/config/LEVEL");
    let configured = of_kind("ConfigMap")
        .any(|(_, map)| label(map, LABEL_REVISION) == stable && text(map, "/data/LEVEL") == level);
    (!configured).then(|| format!("no ConfigMap of {stable} says {level}"))
}

fn is_reconciling(app: &Value) -> bool {
    let conditions = app.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| text(one, "/type") == "Reconciling" && text(one, "/status") == "True")
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
