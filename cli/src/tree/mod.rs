//! What `signalbox get` shows: a header and a tree, made from objects that were read.
//!
//! Pure: the same objects and the same time give the same lines. Never reads anything itself.

mod app;
mod header;
mod migration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use signalbox_crds::condition::{Condition, ConditionStatus, READY, STALLED};
use signalbox_crds::{DatabaseMigration, PortfolioApp};

use crate::paint::{Painter, Row, Tone, sign};

/// Everything that one picture is made of.
#[derive(Clone, Debug)]
pub enum Picture {
    /// An app with what it owns.
    App {
        /// The app.
        app: Box<PortfolioApp>,
        /// Its revisions' Deployments.
        deployments: Vec<Deployment>,
        /// Their pods.
        pods: Vec<Pod>,
        /// The migration that it drives.
        migration: Option<Box<DatabaseMigration>>,
    },
    /// A migration alone.
    Migration(Box<DatabaseMigration>),
}

impl Picture {
    /// The picture as lines.
    #[must_use]
    pub fn lines(&self, now: Timestamp, painter: Painter) -> Vec<String> {
        match self {
            Self::App {
                app,
                deployments,
                pods,
                migration,
            } => {
                let mut lines = header::app(app, deployments, pods, painter);
                lines.push(String::new());
                let rows = app::rows(app, deployments, pods, migration.as_deref(), now);
                lines.extend(crate::paint::table(&rows, painter));
                lines
            }
            Self::Migration(migration) => {
                let mut lines = header::migration(migration, painter);
                lines.push(String::new());
                let rows = migration::table(migration, now);
                lines.extend(crate::paint::table(&rows, painter));
                lines
            }
        }
    }
}

/// What an object says of itself, judged as kstatus does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// One word.
    pub phase: String,
    /// Why, for people.
    pub message: String,
    /// It serves what the newest spec asks for.
    pub ready: bool,
    /// It will not get there by itself.
    pub failed: bool,
}

impl Standing {
    /// From the parts that every kind has.
    #[must_use]
    pub fn of(
        generation: Option<i64>,
        observed: i64,
        phase: Option<&str>,
        conditions: &[Condition],
        terminating: bool,
    ) -> Self {
        let holds = |type_: &str| {
            conditions
                .iter()
                .find(|c| c.type_ == type_ && c.status == ConditionStatus::True)
        };
        let message = conditions
            .iter()
            .find(|c| c.type_ == READY)
            .map_or("", |c| c.message.as_str());
        let told = |phase: &str, message: &str, ready, failed| Self {
            phase: phase.to_owned(),
            message: message.to_owned(),
            ready,
            failed,
        };
        if terminating {
            return told("Terminating", message, false, false);
        }
        if generation.is_some_and(|newest| observed < newest) {
            return told(
                "Pending",
                "the newest generation was not looked at yet",
                false,
                false,
            );
        }
        if let Some(stalled) = holds(STALLED) {
            return told(phase.unwrap_or("Stalled"), &stalled.message, false, true);
        }
        let phase = phase.unwrap_or("Pending");
        let failed = matches!(phase, "RolledBack" | "Failed" | "Stalled" | "Ambiguous");
        told(phase, message, holds(READY).is_some() && !failed, failed)
    }

    /// Of an app.
    #[must_use]
    pub fn of_app(app: &PortfolioApp) -> Self {
        let status = app.status.clone().unwrap_or_default();
        Self::of(
            app.metadata.generation,
            app.status.as_ref().map_or(-1, |s| s.observed_generation),
            status.phase.as_deref(),
            &status.conditions,
            app.metadata.deletion_timestamp.is_some(),
        )
    }

    /// Of a migration.
    #[must_use]
    pub fn of_migration(migration: &DatabaseMigration) -> Self {
        let status = migration.status.clone().unwrap_or_default();
        let phase = status
            .phase
            .as_deref()
            .map(|p| if p == "Running" { "Migrating" } else { p });
        Self::of(
            migration.metadata.generation,
            migration
                .status
                .as_ref()
                .map_or(-1, |s| s.observed_generation),
            phase,
            &status.conditions,
            migration.metadata.deletion_timestamp.is_some(),
        )
    }

    /// Sign and phase, `✔ Ready`, with its tone.
    #[must_use]
    pub fn signed(&self) -> (Tone, String) {
        let (glyph, tone) = sign(&self.phase);
        (tone, format!("{glyph} {}", self.phase))
    }
}

/// The title row.
fn title() -> Row {
    ["NAME", "KIND", "STATUS", "AGE", "INFO"]
        .into_iter()
        .map(|word| (Some(Tone::Strong), word.to_owned()))
        .collect()
}

/// One node of the tree.
fn node(name: String, kind: &str, state: (Tone, String), age: String, info: String) -> Row {
    vec![
        (None, name),
        (None, kind.to_owned()),
        (Some(state.0), state.1),
        (None, age),
        (Some(Tone::Dim), info),
    ]
}

/// `├──`/`└──` and what stands before the children of such a node.
const fn branch(last: bool) -> (&'static str, &'static str) {
    if last {
        ("└──", "   ")
    } else {
        ("├──", "│  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn app(status: &serde_json::Value) -> PortfolioApp {
        serde_json::from_value(json!({
            "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
            "metadata": { "name": "web", "namespace": "shop", "generation": 2 },
            "spec": { "image": "example/web:2", "replicas": 4 },
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_stale_status_is_pending_and_stalled_is_failed() {
        let stale = Standing::of_app(&app(&json!({ "observedGeneration": 1, "phase": "Ready" })));
        assert_eq!((stale.phase.as_str(), stale.ready), ("Pending", false));
        let time = "2026-01-01T00:00:00Z";
        let stalled = app(
            &json!({ "observedGeneration": 2, "phase": "Stalled", "conditions": [
            { "type": "Stalled", "status": "True", "lastTransitionTime": time, "reason": "Forbidden", "message": "no right" }] }),
        );
        let stalled = Standing::of_app(&stalled);
        assert!(stalled.failed);
        assert_eq!(stalled.message, "no right");
    }

    fn deployment(revision: &str, image: &str, replicas: i64) -> Deployment {
        serde_json::from_value(json!({
            "metadata": { "name": format!("web-{revision}"), "labels": { "signalbox.dev/revision": revision } },
            "spec": { "replicas": replicas, "selector": {}, "template": { "spec": { "containers": [{ "name": "app", "image": image }] } } },
            "status": { "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas },
        }))
        .unwrap()
    }

    #[test]
    fn a_canary_shows_both_revisions_with_their_role() {
        let time = "2026-01-01T00:00:00Z";
        let app = app(
            &json!({ "observedGeneration": 2, "phase": "Progressing", "stable": "aaa", "revision": "bbb",
            "rollout": { "revision": "bbb", "base": "aaa", "state": "Progressing", "step": 0, "weight": 25, "startedAt": time, "progressedAt": time } }),
        );
        let picture = Picture::App {
            app: Box::new(app),
            deployments: vec![
                deployment("aaa", "example/web:1", 3),
                deployment("bbb", "example/web:2", 1),
            ],
            pods: Vec::new(),
            migration: None,
        };
        let text = picture
            .lines(time.parse().unwrap(), Painter::plain())
            .join("\n");
        for part in [
            "SetWeight:     25",
            "ActualWeight:  25",
            "example/web:2 (canary)",
            "example/web:1 (stable)",
            "├──# revision bbb",
            "└──# revision aaa",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }
}
