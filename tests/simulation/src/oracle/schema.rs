//! What must be true of schema changes: who may commit a file, when, and what no longer serves after it.
//!
//! A contract file drops what revisions need that are older than the one it was released for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use signalbox_crds::names::{LABEL_OWNER, LABEL_REVISION};
use signalbox_executor::sql::Job;

use super::{Oracle, label, served};
use crate::api::json::{number, text};
use crate::api::kept::Kept;
use crate::api::store::{Change, Deed, Place};

/// What was seen of schemas and of the revisions that rest on them.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Step and attempt of every claim that stood in a status.
    claims: BTreeSet<(String, i64)>,
    /// Deployments by uid: how many were made before them.
    made: BTreeMap<String, usize>,
    /// Deployments whose columns are gone, with the generation of their app at that time.
    behind: BTreeMap<String, i64>,
}

/// Whether a file is one of contract.
pub(super) fn is_contract(file: &str) -> bool {
    file.contains("contract")
}

/// The version of a file.
pub(super) fn version(file: &str) -> u64 {
    let digits = file.trim_start_matches('V').split("__").next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

impl Oracle {
    /// Looks at what a change means for schemas.
    pub(super) fn schema_changes(&self, who: &str, change: &Change) {
        let (object, is_new) = (&change.object, change.deed == Deed::Added);
        match change.place.resource.kind {
            "Deployment" if is_new => {
                let made = &mut self.lock().schema.made;
                let before = made.len();
                made.insert(text(object, "/metadata/uid").to_owned(), before);
            }
            "DatabaseMigration" => {
                let claims = object.pointer("/status/claims").and_then(Value::as_object);
                let seen = &mut self.lock().schema.claims;
                for claim in claims.into_iter().flatten().map(|(_, claim)| claim) {
                    let attempt = number(claim, "/attempt").unwrap_or(0);
                    seen.insert((text(claim, "/stepId").to_owned(), attempt));
                }
            }
            "Service" if who.starts_with("executor") && change.deed != Deed::Deleted => {
                self.nobody_is_left_behind(who, &change.place, object);
            }
            _ => {}
        }
    }

    /// No traffic for a revision whose columns were dropped, unless its app's spec asks for it since.
    fn nobody_is_left_behind(&self, who: &str, place: &Place, service: &Value) {
        let app = label(service, LABEL_OWNER);
        let Some(revision) = served(service) else {
            return;
        };
        let uid = self
            .deployments(&place.namespace, app)
            .into_iter()
            .find(|(of, _)| *of == revision)
            .map(|(_, uid)| uid);
        let since = uid.and_then(|uid| self.lock().schema.behind.get(&uid).copied());
        if let Some(generation) = since
            && !self.asks_since(&place.namespace, app, &revision, generation)
        {
            self.net.broken(format!(
                "{who} sends {place} to {revision}, whose columns were dropped"
            ));
        }
    }

    /// Whether the spec of an app asks for `revision` in a later generation than that.
    fn asks_since(&self, namespace: &str, app: &str, revision: &str, generation: i64) -> bool {
        let app = self.stored("PortfolioApp", namespace, app);
        app.is_some_and(|app| {
            let seen = number(&app, "/status/observedGeneration").unwrap_or(0);
            seen > generation && text(&app, "/status/revision") == revision
        })
    }

    /// An object as it is stored now.
    fn stored(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Kept>> {
        let place = Place::of(kind, namespace, name)?;
        self.server.upgrade()?.store().get(&place)
    }

    /// Revision and uid of an app's Deployments.
    fn deployments(&self, namespace: &str, app: &str) -> Vec<(String, String)> {
        let Some(server) = self.server.upgrade() else {
            return Vec::new();
        };
        let store = server.store();
        let all = store.everything().filter(|(place, object)| {
            place.resource.kind == "Deployment"
                && place.namespace == namespace
                && label(object, LABEL_OWNER) == app
        });
        all.map(|(_, object)| {
            let revision = label(object, LABEL_REVISION).to_owned();
            (revision, text(object, "/metadata/uid").to_owned())
        })
        .collect()
    }

    /// What must be true when a file is committed to a schema that has the files `applied`.
    pub fn commits(&self, who: &str, job: &Job, applied: &[String]) {
        let (file, author) = (&job.file, &job.author);
        let flight = author.reconcile_id.to_string();
        if !self.records.has(&flight, "start") {
            self.net.broken(format!(
                "{who} commits {file} before its start is on record"
            ));
        }
        let claim = (author.step_id.to_string(), i64::from(author.attempt));
        if !self.lock().schema.claims.contains(&claim) {
            self.net
                .broken(format!("{who} commits {file} before it is claimed"));
        }
        let live = self
            .stored("DatabaseMigration", &author.namespace, &author.name)
            .filter(|live| text(live, "/metadata/uid") == author.uid);
        // Deleted meanwhile: nobody asks for anything of it any more.
        let Some(live) = live else { return };
        let files = live.pointer("/spec/files").and_then(Value::as_array);
        let missing = files.into_iter().flatten().find(|other| {
            let name = text(other, "/name");
            is_contract(name) == is_contract(file)
                && version(name) < version(file)
                && !applied.iter().any(|done| done == name)
        });
        if let Some(missing) = missing {
            let missing = text(missing, "/name");
            self.net
                .broken(format!("{who} commits {file} before {missing}"));
        }
        if is_contract(file) {
            self.contract_is_due(who, job, &live);
        }
    }

    /// I5, and contract only once it is released, while no older revision serves.
    fn contract_is_due(&self, who: &str, job: &Job, migration: &Value) {
        let file = &job.file;
        let step = job.author.step_id.to_string();
        let claims = migration
            .pointer("/status/claims")
            .and_then(Value::as_object);
        let mut claims = claims.into_iter().flatten().map(|(_, claim)| claim);
        // Withdrawn while it runs, its claim stays until it is known what came of it.
        let is_known = claims.any(|claim| {
            text(claim, "/stepId") == step
                && matches!(text(claim, "/state"), "Running" | "Ambiguous")
        });
        let release = text(migration, "/spec/release/phase");
        let policy = text(migration, "/spec/contract");
        if !is_known && (release != "Contract" || policy == "Manual") {
            self.net.broken(format!(
                "{who} commits {file} while {release:?} is released, contract {policy}"
            ));
        }
        if release != "Contract" {
            return;
        }
        let (app, namespace) = (text(migration, "/spec/app"), &job.author.namespace);
        let deployments = self.deployments(namespace, app);
        let revision = text(migration, "/spec/release/revision");
        let serving = self.serving(namespace, app);
        let live = self.stored("PortfolioApp", namespace, app);
        let generation = live.and_then(|app| number(&app, "/metadata/generation"));
        let generation = generation.unwrap_or(0);
        let schema = &mut self.lock().schema;
        let made = |uid: &str| schema.made.get(uid).copied();
        let own = deployments.iter().find(|(of, _)| of == revision);
        let own = own.and_then(|(_, uid)| made(uid));
        let older: Vec<&(String, String)> = deployments
            .iter()
            .filter(|(_, uid)| own.is_some_and(|own| made(uid).is_some_and(|made| made < own)))
            .collect();
        let served = older.iter().find(|(of, _)| Some(of) == serving.as_ref());
        let behind = older.iter().map(|(_, uid)| (uid.clone(), generation));
        let behind: Vec<_> = behind.collect();
        schema.behind.extend(behind);
        if let Some((of, _)) = served {
            self.net
                .broken(format!("{who} commits {file} while {of} serves"));
        }
    }

    /// The revision that an app's Service selects.
    fn serving(&self, namespace: &str, app: &str) -> Option<String> {
        let server = self.server.upgrade()?;
        let store = server.store();
        let mut services = store.everything().filter(|(place, object)| {
            place.resource.kind == "Service"
                && place.namespace == namespace
                && label(object, LABEL_OWNER) == app
        });
        services.find_map(|(_, service)| served(service))
    }
}
