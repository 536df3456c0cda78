//! Tells what happens to the example, as its objects change.
//!
//! Reads only; says a thing once.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use signalbox_crds::app::{PortfolioAppStatus, RolloutState};
use signalbox_crds::{DatabaseMigration, PortfolioApp};

use super::voice::Voice;

/// Tells until the task is dropped.
pub(super) async fn narrate(client: Client, namespace: &str, voice: Voice) {
    let apps: Api<PortfolioApp> = Api::namespaced(client.clone(), namespace);
    let migrations: Api<DatabaseMigration> = Api::namespaced(client, namespace);
    let mut told = Told::default();
    let apps = watcher(apps, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .map_ok(|app| Seen::App(Box::new(app)))
        .boxed();
    let migrations = watcher(migrations, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .map_ok(|migration| Seen::Migration(Box::new(migration)))
        .boxed();
    let mut all = futures::stream::select(apps, migrations);
    while let Some(seen) = all.next().await {
        for line in seen.iter().flat_map(|seen| told.news(seen)) {
            voice.tell(&line);
        }
    }
}

/// A changed object.
enum Seen {
    App(Box<PortfolioApp>),
    Migration(Box<DatabaseMigration>),
}

/// What was said already.
#[derive(Default)]
struct Told {
    app: String,
    files: BTreeSet<String>,
    migration: String,
}

impl Told {
    fn news(&mut self, seen: &Seen) -> Vec<String> {
        match seen {
            Seen::App(app) => self.of_app(app),
            Seen::Migration(migration) => self.of_migration(migration),
        }
    }

    fn of_app(&mut self, app: &PortfolioApp) -> Vec<String> {
        let Some(status) = &app.status else {
            return Vec::new();
        };
        let name = app.metadata.name.as_deref().unwrap_or_default();
        let Some(phase) = &status.phase else {
            return Vec::new();
        };
        let line = format!("app {name}: {phase}{}", progress(status));
        if line == self.app {
            return Vec::new();
        }
        self.app.clone_from(&line);
        vec![line]
    }

    fn of_migration(&mut self, migration: &DatabaseMigration) -> Vec<String> {
        let Some(status) = &migration.status else {
            return Vec::new();
        };
        let name = migration.metadata.name.as_deref().unwrap_or_default();
        let mut lines = Vec::new();
        for file in &status.applied {
            if self.files.insert(file.name.clone()) {
                lines.push(format!(
                    "migration {name}: {} applied in {} ms",
                    file.name, file.effect_ms
                ));
            }
        }
        let line = format!(
            "migration {name}: {}",
            status.phase.as_deref().unwrap_or("Pending")
        );
        if line != self.migration {
            self.migration.clone_from(&line);
            lines.push(line);
        }
        lines
    }
}

fn progress(status: &PortfolioAppStatus) -> String {
    let Some(rollout) = &status.rollout else {
        return String::new();
    };
    let revision = &rollout.revision;
    match rollout.state {
        RolloutState::Progressing => {
            let reached = if rollout.step_reached_at.is_some() {
                ", reached"
            } else {
                ""
            };
            format!(
                ", revision {revision}, step {}, weight {}{reached}",
                rollout.step + 1,
                rollout.weight
            )
        }
        RolloutState::Migrating
        | RolloutState::Promoted
        | RolloutState::Contracting
        | RolloutState::RollingBack => format!(", revision {revision}, {:?}", rollout.state),
        RolloutState::Completed => format!(", revision {revision} is stable"),
        RolloutState::RolledBack => {
            let why = rollout.message.as_deref().unwrap_or_default();
            format!(", revision {revision} was refused: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_thing_is_said_once() {
        let app = |step: i32| -> PortfolioApp {
            let time = "2026-01-01T00:00:00Z";
            serde_json::from_value(json!({
                "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
                "metadata": { "name": "shop" }, "spec": { "image": "i" },
                "status": { "observedGeneration": 1, "phase": "Progressing", "rollout": {
                    "revision": "abc", "state": "Progressing", "step": step, "weight": 25,
                    "startedAt": time, "progressedAt": time } },
            }))
            .unwrap()
        };
        let mut told = Told::default();
        assert_eq!(
            told.of_app(&app(0)),
            ["app shop: Progressing, revision abc, step 1, weight 25"]
        );
        assert!(told.of_app(&app(0)).is_empty());
        assert_eq!(told.of_app(&app(1)).len(), 1);
    }
}
