//! The exact list of writes that each change of an app costs, from the API server's own audit log.
//!
//! Writes of status are counted apart: how often the count of ready pods changes on the way is the
//! cluster's affair, everything else is ours.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; a scenario is told in one piece"
)]

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_tests::fixtures::app;
use signalbox_tests::objects::ready;
use signalbox_tests::silence::falls_silent;
use signalbox_tests::{Objects, World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(1);
const QUIET: Duration = Duration::from_secs(2);

/// What one change cost.
struct Cost {
    /// Sorted, with revisions as `A` (the one before), `B` (the newer one).
    writes: Vec<String>,
    status: usize,
}

struct Case {
    world: World,
    objects: Objects,
    /// Revisions by the letter that they have in lists.
    letters: Vec<(String, &'static str)>,
}

impl Case {
    async fn status_is(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(what, PATIENCE, || async {
            let app = self.objects.get("papp", "orders").await;
            let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
            if seen && holds(&app) {
                Ok(app)
            } else {
                Err(app["status"].to_string())
            }
        })
        .await
    }

    /// What was written from `mark` until silence.
    async fn cost(&self, what: &str, mark: usize) -> Cost {
        falls_silent(&self.world, what, QUIET, PATIENCE).await;
        let done = self.world.audit().done_in(mark, &self.objects.namespace);
        let (status, others): (Vec<_>, Vec<_>) = done
            .into_iter()
            .partition(|line| line.contains("portfolioapps/status"));
        let mut writes: Vec<String> = others.into_iter().map(|line| self.readable(line)).collect();
        writes.sort();
        Cost {
            writes,
            status: status.len(),
        }
    }

    fn readable(&self, mut line: String) -> String {
        for (revision, letter) in &self.letters {
            line = line.replace(revision, letter);
        }
        // The name of an Event is an id.
        match line.find(" events orders.") {
            Some(at) => line[..at + " events orders".len()].to_owned(),
            None => line,
        }
    }

    async fn patch(&self, spec: Value) -> usize {
        let mark = self.world.audit().mark();
        self.objects
            .patch("papp", "orders", json!({ "spec": spec }))
            .await;
        mark
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_costs_exactly_these_writes() {
    let world = World::start("writes", WorldOptions::PODS).await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let mut case = Case {
        world,
        objects,
        letters: Vec::new(),
    };
    let lines = "  rollout: { steps: [{ weight: 50 }], drainSeconds: 0, progressDeadlineSeconds: 3, historyLimit: 5 }";
    let mark = case.world.audit().mark();
    case.world
        .apply(&app(
            &case.objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    let first = case.status_is("Ready", |app| ready(app).is_ok()).await;
    let stable = |app: &Value| app["status"]["stable"].as_str().unwrap().to_owned();
    case.letters.push((stable(&first), "A"));
    let created = case.cost("create", mark).await;
    assert_eq!(
        created.writes,
        [
            "patch configmaps orders-A",
            "patch deployments orders-A",
            "patch services orders"
        ]
    );

    let mark = case.patch(json!({"replicas": 3})).await;
    case.status_is("3 pods", |app| app["status"]["readyReplicas"] == 3)
        .await;
    let scaled = case.cost("scale", mark).await;
    assert_eq!(scaled.writes, ["update deployments/scale orders-A"]);

    let mark = case.patch(json!({"paused": true})).await;
    case.status_is("paused", |app| app["status"]["phase"] == "Paused")
        .await;
    let paused = case.cost("pause", mark).await;
    assert_eq!(paused.writes, Vec::<String>::new());
    case.patch(json!({"paused": false, "replicas": 1})).await;
    case.status_is("1 pod", |app| {
        ready(app).is_ok() && app["status"]["replicas"] == 1
    })
    .await;
    case.cost("going on", mark).await;

    let mark = case.patch(json!({"image": "example/orders:2"})).await;
    let a = case.letters[0].0.clone();
    let promoted = |app: &Value| ready(app).is_ok() && stable(app) != a;
    let second = case.status_is("promoted", promoted).await;
    case.letters.push((stable(&second), "B"));
    let updated = case.cost("a new image", mark).await;
    assert_eq!(
        updated.writes,
        [
            "create events orders",
            "patch configmaps orders-B",
            "patch deployments orders-B",
            "patch services orders",
            "update deployments/scale orders-A",
            "update deployments/scale orders-B",
        ]
    );

    let mark = case.patch(json!({"config": {"LEVEL": "debug"}})).await;
    let b = case.letters[1].0.clone();
    let released = |app: &Value| ready(app).is_ok() && stable(app) != b;
    let third = case.status_is("released", released).await;
    case.letters.push((stable(&third), "C"));
    let configured = case.cost("a new configuration", mark).await;
    assert_eq!(
        configured.writes,
        [
            "create events orders",
            "patch configmaps orders-C",
            "patch deployments orders-C",
            "patch services orders",
            "update deployments/scale orders-B",
            "update deployments/scale orders-C",
        ]
    );

    // Whatever is edited or deleted comes back by one write, a Deployment's pods by another.
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
    for (kind, name, letter) in [
        (
            "configmap",
            format!("orders-{}", stable(&third)),
            "configmaps orders-C",
        ),
        (
            "deployment",
            format!("orders-{}", stable(&third)),
            "deployments orders-C",
        ),
        ("service", "orders".to_owned(), "services orders"),
    ] {
        for edited in [true, false] {
            let before = case.objects.get(kind, &name).await;
            let mark = case.world.audit().mark();
            if edited {
                case.objects.patch(kind, &name, label.clone()).await;
            } else {
                case.objects.delete(kind, &name).await;
            }
            eventually(&format!("{kind} is back"), PATIENCE, || async {
                let now = case.objects.find(kind, &name).await.unwrap_or_default();
                let same = now["metadata"]["labels"] == before["metadata"]["labels"];
                let made = edited || now["metadata"]["uid"] != before["metadata"]["uid"];
                if same && made {
                    Ok(())
                } else {
                    Err(now.to_string())
                }
            })
            .await;
            case.status_is("Ready again", |app| ready(app).is_ok())
                .await;
            let repaired = case.cost(&format!("{kind} edited: {edited}"), mark).await;
            let mut expected = vec![format!("patch {letter}")];
            if kind == "deployment" && !edited {
                // It comes back without pods, so that a create that comes late changes nothing.
                expected.push("update deployments/scale orders-C".to_owned());
            }
            assert_eq!(repaired.writes, expected, "edited: {edited}");
            assert!(repaired.status <= 4, "{} of status", repaired.status);
        }
    }

    let mark = case.patch(json!({"image": "example/bad:3"})).await;
    let back = case
        .status_is("rolled back", |app| app["status"]["phase"] == "RolledBack")
        .await;
    case.letters.push((
        back["status"]["failedRevision"]
            .as_str()
            .unwrap()
            .to_owned(),
        "D",
    ));
    let failed = case.cost("a bad image", mark).await;
    assert_eq!(
        failed.writes,
        [
            "create events orders",
            "patch configmaps orders-D",
            "patch deployments orders-D",
            "update deployments/scale orders-D",
            "update deployments/scale orders-D",
        ]
    );

    let mark = case.world.audit().mark();
    case.objects.delete("papp", "orders").await;
    eventually("it is gone", PATIENCE, || async {
        case.objects
            .find("papp", "orders")
            .await
            .map_or(Ok(()), |app| Err(app.to_string()))
    })
    .await;
    let deleted = case.cost("deletion", mark).await;
    assert_eq!(deleted.writes, Vec::<String>::new(), "no finalizer");

    for (cost, most) in [
        (created, 2),
        (scaled, 4),
        (paused, 1),
        (updated, 8),
        (configured, 8),
        (failed, 6),
        (deleted, 0),
    ] {
        assert!(
            cost.status <= most,
            "{:?}: {} of {most}",
            cost.writes,
            cost.status
        );
    }
}
