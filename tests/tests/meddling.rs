//! What others do to an app's children: each is repaired or named in the status, and then nothing is written any
//! more, as the API server's audit log tells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::silence::falls_silent;
use signalbox_tests::{World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(2);
const QUIET: Duration = Duration::from_secs(10);

async fn world(name: &str) -> World {
    World::start(name, WorldOptions::PODS).await
}

async fn no_loop_follows(world: &World, after: &str) {
    let writes = falls_silent(world, after, QUIET, PATIENCE).await;
    println!("after {after}: {writes} writes until silence");
}

const EVERYTHING: &str = "  replicas: 2
  config: { LEVEL: info }
  storage: { size: 1Gi, mountPath: /data }
  autoscaling: { minReplicas: 2, maxReplicas: 6 }
  disruptionBudget: { minAvailable: '1' }
  rollout: { drainSeconds: 0 }";

#[tokio::test(flavor = "multi_thread")]
async fn children_that_others_changed_are_repaired_without_a_loop() {
    let world = world("meddling").await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let document = app(&objects.namespace, "orders", "example/orders:1", EVERYTHING);
    world.apply(&document).await;
    let current = objects.becomes_ready("orders").await;
    let revision = format!("orders-{}", current["status"]["stable"].as_str().unwrap());
    let children = [
        ("service", "orders"),
        ("configmap", revision.as_str()),
        ("deployment", revision.as_str()),
        ("hpa", "orders"),
        ("pdb", "orders"),
    ];
    no_loop_follows(&world, "the start").await;

    // All labels stripped at once: none of the watches sees these children any more.
    let mut wanted = Vec::new();
    for (kind, name) in children {
        let before = objects.get(kind, name).await;
        let (labels, uid) = (&before["metadata"]["labels"], &before["metadata"]["uid"]);
        assert!(labels.is_object(), "{kind}: {before}");
        wanted.push((kind, name, labels.clone(), uid.clone()));
    }
    for (kind, name) in children {
        let bare = json!({"metadata": {"labels": null}});
        objects.patch(kind, name, bare).await;
    }
    for (kind, name, labels, uid) in &wanted {
        let what = format!("the labels of {kind} {name} are back");
        eventually(&what, PATIENCE, || async {
            let now = objects.get(kind, name).await;
            if now["metadata"]["labels"] == *labels {
                assert_eq!(now["metadata"]["uid"], *uid, "{kind}: the same object");
                return Ok(());
            }
            let status = &objects.get("papp", "orders").await["status"];
            Err(format!("{} {status}", now["metadata"]))
        })
        .await;
    }
    objects.becomes_ready("orders").await;
    no_loop_follows(&world, "stripped labels").await;

    let ports = json!([{"name": "http", "port": 99, "protocol": "TCP", "targetPort": 8080}]);
    for (kind, name, patch, pointer, wanted) in [
        (
            "service",
            "orders",
            json!({"spec": {"ports": ports}}),
            "/spec/ports/0/port",
            json!(8080),
        ),
        (
            "configmap",
            revision.as_str(),
            json!({"data": {"FOREIGN": "key"}}),
            "/data/FOREIGN",
            Value::Null,
        ),
    ] {
        objects.patch(kind, name, patch.clone()).await;
        eventually(&format!("{kind}: {patch} is undone"), PATIENCE, || async {
            let now = objects.get(kind, name).await;
            let found = now.pointer(pointer).cloned().unwrap_or(Value::Null);
            if found == wanted { Ok(()) } else { Err(found) }
        })
        .await;
    }
    objects.becomes_ready("orders").await;
    no_loop_follows(&world, "a port and a key").await;
}

/// A volume has no owner reference, its labels are all that makes it the app's: without them it is named, not taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_labels_and_foreign_objects_are_named_without_a_loop() {
    let world = world("foreign").await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines = "  storage: { size: 1Gi, mountPath: /data }";
    let document = app(&objects.namespace, "orders", "example/orders:1", lines);
    world.apply(&document).await;
    objects.becomes_ready("orders").await;
    let labels = objects.get("pvc", "orders").await["metadata"]["labels"].clone();
    let bare = json!({"metadata": {"labels": null}});
    objects.patch("pvc", "orders", bare).await;

    // Each of these names is somebody else's before the app that wants it comes.
    for (name, kind, spec) in [
        ("ports", "Service", "spec: { ports: [{ port: 1 }] }"),
        (
            "budget",
            "PodDisruptionBudget",
            "spec: { maxUnavailable: 1, selector: {} }",
        ),
    ] {
        let version = if kind == "Service" { "v1" } else { "policy/v1" };
        let namespace = &objects.namespace;
        world
            .apply(&format!(
                "
apiVersion: {version}
kind: {kind}
metadata: {{ name: {name}, namespace: {namespace} }}
{spec}
"
            ))
            .await;
    }
    let lines = "  disruptionBudget: { maxUnavailable: '1' }";
    let budget = app(&objects.namespace, "budget", "example/orders:1", lines);
    world
        .apply(&minimal(&objects.namespace, "ports", "example/orders:1"))
        .await;
    world.apply(&budget).await;

    for (name, kind) in [
        ("orders", "PersistentVolumeClaim"),
        ("ports", "Service"),
        ("budget", "PodDisruptionBudget"),
    ] {
        eventually(&format!("{name} names the {kind}"), PATIENCE, || async {
            let status = objects.get("papp", name).await["status"].to_string();
            if status.contains("NameTaken") && status.contains(kind) {
                Ok(())
            } else {
                Err(status)
            }
        })
        .await;
    }
    no_loop_follows(&world, "foreign objects").await;
    let service = objects.get("service", "ports").await;
    assert_eq!(service["spec"]["ports"][0]["port"], 1, "left alone");

    // Given back, or out of the way.
    let given = json!({"metadata": {"labels": labels}});
    objects.patch("pvc", "orders", given).await;
    objects.delete("service", "ports").await;
    objects.delete("pdb", "budget").await;
    for name in ["orders", "ports", "budget"] {
        objects.becomes_ready(name).await;
    }
    no_loop_follows(&world, "the healing").await;
}
