//! What must be true in the end, once the faults are over: everything has come to rest, as it was asked for.
//!
//! What waits for a person may wait; everything else may not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use signalbox_crds::names::{LABEL_OWNER, LABEL_OWNER_UID, LABEL_REVISION};

use super::schema::{is_contract, version};
use super::{Oracle, label, served};
use crate::api::Server;
use crate::api::json::{number, text};
use crate::api::store::{Kept, Place, terminating};
use crate::controllers::BAD;
use crate::database::SimulatedDatabase;

/// A child and where it is.
type Child<'a> = (&'a Place, &'a Arc<Kept>);

impl Oracle {
    /// What is not yet as it must be in the end.
    #[must_use]
    pub fn missing(&self, server: &Server, database: &SimulatedDatabase) -> Vec<String> {
        let store = server.store();
        let mut missing = Vec::new();
        let mut children: BTreeMap<(&str, &str), Vec<Child<'_>>> = BTreeMap::new();
        for (place, child) in store.everything() {
            if !place.resource.custom {
                let of = (place.namespace.as_str(), label(child, LABEL_OWNER));
                children.entry(of).or_default().push((place, child));
            }
        }
        for (place, object) in store.everything() {
            if place.resource.kind == "PortfolioApp" {
                let of = (place.namespace.as_str(), place.name.as_str());
                let own = children.get(&of).map(Vec::as_slice).unwrap_or_default();
                let name = text(object, "/spec/migrations/name");
                let schema = Place::of("DatabaseMigration", &place.namespace, name)
                    .and_then(|place| store.get(&place));
                let waits = schema
                    .as_deref()
                    .is_some_and(|schema| awaits_a_person(schema))
                    || is_left_behind(object, || database.applied(&place.namespace, name));
                let what = app(object, own, waits);
                missing.extend(what.map(|what| format!("{place}: {what}")));
            }
            if place.resource.kind == "DatabaseMigration" {
                let applied = database.applied(&place.namespace, &place.name);
                missing.extend(schema(object, &applied).map(|what| format!("{place}: {what}")));
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

/// What an app lacks, if anything; `waits`: its schema makes it wait for a person.
fn app(app: &Value, children: &[(&Place, &Arc<Kept>)], waits: bool) -> Option<String> {
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
    if waits {
        return None;
    }
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

/// Whether nobody can know what came of a contract file, so that the app waits for a person.
fn awaits_a_person(migration: &Value) -> bool {
    text(migration, "/status/phase") == "Ambiguous"
}

/// Whether an app is refused a revision, because contract files ran that were made for a newer one. The database
/// knows; a migration that was made anew in the meantime does not.
fn is_left_behind(app: &Value, applied: impl FnOnce() -> Vec<String>) -> bool {
    text(app, "/status/phase") == "RolledBack"
        && text(app, "/status/rollout/message")
            .contains("the older revision could not live with it")
        && applied().iter().any(|file| is_contract(file))
}

/// What a migration lacks, if anything.
fn schema(migration: &Value, applied: &[String]) -> Option<String> {
    if terminating(migration) {
        return Some("is still being deleted".to_owned());
    }
    let (generation, told) = (
        number(migration, "/metadata/generation"),
        number(migration, "/status/observedGeneration"),
    );
    if generation != told {
        return Some(format!("generation {generation:?}, observed {told:?}"));
    }
    if awaits_a_person(migration) {
        return None;
    }
    let phase = text(migration, "/status/phase");
    if !matches!(phase, "Applied" | "AwaitingRelease") {
        return Some(format!("phase {phase}"));
    }
    let (release, released) = (
        migration.pointer("/spec/release"),
        migration.pointer("/status/released"),
    );
    release?;
    if release != released {
        return Some(format!("{release:?} is asked for, {released:?} is done"));
    }
    let names = |pointer: &str| {
        let list = migration.pointer(pointer).and_then(Value::as_array);
        let mut names: Vec<&str> = list
            .into_iter()
            .flatten()
            .map(|file| text(file, "/name"))
            .collect();
        names.sort_unstable();
        names
    };
    // Another migration of that name may have applied more, before it was deleted; and of a file that was
    // taken out of the spec, only the version is known.
    let known = names("/status/applied");
    let is_done = |file: &&&str| applied.iter().any(|done| version(done) == version(file));
    if let Some(file) = known.iter().find(|file| !is_done(file)) {
        return Some(format!("{file} is told as applied, and is not"));
    }
    let files = names("/spec/files");
    let mut expand = files.iter().filter(|file| !is_contract(file));
    let missing = expand.find(|file| !known.contains(file));
    missing.map(|file| format!("{file} is not applied"))
}
