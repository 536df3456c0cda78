//! The main job on real servers: create, update, canary, bad image, scale, configuration, pause, drift, deletion, trigger.
//!
//! Each test has a namespace of its own in one shared world.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::{condition, ready};
use signalbox_tests::shared::Shared;
use signalbox_tests::{Objects, Slot, WorldOptions, eventually};

const SOON: Duration = Duration::from_secs(30);

/// One world for all tests of this file.
async fn shared() -> Arc<Shared> {
    static SLOT: Slot = Slot::new();
    SLOT.world(
        "main-job",
        WorldOptions {
            controllers: true,
            postgres: false,
        },
    )
    .await
}

async fn becomes_ready(objects: &Objects, name: &str) -> Value {
    eventually(&format!("{name} is Ready"), SOON, || async {
        let app = objects.get("papp", name).await;
        ready(&app).map(|()| app)
    })
    .await
}

fn revision(app: &Value) -> String {
    app["status"]["stable"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_minimal_app_costs_four_writes_and_one_when_it_is_ready() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let audit = shared.world.audit();
    let mark = audit.mark();
    shared
        .world
        .apply(&minimal(&objects.namespace, "orders", "example/orders:1"))
        .await;
    let app = becomes_ready(&objects, "orders").await;
    let revision = revision(&app);
    // The log of the API server follows its answers.
    let mut writes = eventually("five writes are in the log", SOON, || async {
        let writes = audit.done_in(mark, &objects.namespace);
        if writes.len() >= 5 {
            Ok(writes)
        } else {
            Err(format!("{writes:?}"))
        }
    })
    .await;
    let last = writes.split_off(4);
    writes.sort();
    assert_eq!(
        writes,
        [
            format!("patch configmaps orders-{revision}"),
            format!("patch deployments orders-{revision}"),
            "patch portfolioapps/status orders".to_owned(),
            "patch services orders".to_owned(),
        ]
    );
    assert_eq!(
        last,
        ["patch portfolioapps/status orders"],
        "only Ready is told afterwards"
    );
}

#[tokio::test]
async fn a_new_image_goes_through_the_steps_and_is_promoted() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let steps = "  replicas: 4\n  rollout: { steps: [{ weight: 25, pauseSeconds: 1 }, { weight: 50 }], drainSeconds: 1 }";
    shared
        .world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            steps,
        ))
        .await;
    let before = revision(&becomes_ready(&objects, "orders").await);
    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"image": "example/orders:2"}}),
        )
        .await;
    let weights = Mutex::new(Vec::new());
    let app = eventually("the new image is promoted", SOON, || async {
        let app = objects.get("papp", "orders").await;
        weights
            .lock()
            .unwrap()
            .push(app["status"]["rollout"]["weight"].as_i64());
        ready(&app)?;
        if revision(&app) == before {
            Err("old".to_owned())
        } else {
            Ok(app)
        }
    })
    .await;
    let weights = weights.into_inner().unwrap();
    assert!(
        weights.contains(&Some(25)) && weights.contains(&Some(50)),
        "{weights:?}"
    );
    let stable = revision(&app);
    let new = objects.get("deployment", &format!("orders-{stable}")).await;
    assert_eq!(
        new["spec"]["template"]["spec"]["containers"][0]["image"],
        "example/orders:2"
    );
    assert_eq!(new["status"]["availableReplicas"], 4);
    let service = objects.get("service", "orders").await;
    let selector = service["spec"]["selector"].as_object().unwrap();
    assert!(
        selector.contains_key(&format!("serves.signalbox.dev/{stable}")),
        "{selector:?}"
    );
}

#[tokio::test]
async fn a_bad_image_is_rolled_back_while_the_old_revision_serves() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  replicas: 3\n  rollout: { progressDeadlineSeconds: 3, drainSeconds: 1, steps: [{ weight: 30 }] }";
    shared
        .world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    let before = becomes_ready(&objects, "orders").await;
    let stable = revision(&before);
    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"image": "example/bad:2"}}),
        )
        .await;
    let after = eventually("it is rolled back", SOON, || async {
        // All the while the old revision serves with all its pods.
        let old = objects.get("deployment", &format!("orders-{stable}")).await;
        assert_eq!(old["status"]["availableReplicas"], 3, "{old}");
        let service = objects.get("service", "orders").await;
        let selector = service["spec"]["selector"].as_object().unwrap();
        let label = format!("serves.signalbox.dev/{stable}");
        assert!(selector.contains_key(&label), "{selector:?}");
        let app = objects.get("papp", "orders").await;
        if app["status"]["phase"] == "RolledBack" {
            Ok(app)
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
    let told = after["status"]["conditions"].to_string();
    assert!(told.contains("became ready within 3 s"), "{told}");
    assert_eq!(after["status"]["stable"], stable.as_str());
    assert_eq!(after["status"]["rollout"]["state"], "RolledBack");
    assert_eq!(
        condition(&after, "Ready"),
        Some("False"),
        "what was asked for does not run"
    );
    let old = objects.get("deployment", &format!("orders-{stable}")).await;
    assert_eq!(old["status"]["availableReplicas"], 3);
    let failed = after["status"]["failedRevision"]
        .as_str()
        .unwrap()
        .to_owned();
    eventually("the bad revision has no pods", SOON, || async {
        let bad = objects.get("deployment", &format!("orders-{failed}")).await;
        if bad["spec"]["replicas"] == 0 {
            Ok(())
        } else {
            Err(bad["spec"].to_string())
        }
    })
    .await;
    let events = objects.list("event").await;
    assert!(
        events
            .iter()
            .any(|e| e["reason"] == "ProgressDeadlineExceeded"
                && e["type"] == "Warning"
                && e["regarding"]["name"] == "orders"),
        "{events:?}"
    );

    // A good image afterwards is served.
    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"image": "example/orders:3"}}),
        )
        .await;
    becomes_ready(&objects, "orders").await;
}

#[tokio::test]
async fn scaling_pausing_and_configuration() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines =
        "  config: { LEVEL: info }\n  rollout: { steps: [{ weight: 50 }], drainSeconds: 0 }";
    shared
        .world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    let stable = revision(&becomes_ready(&objects, "orders").await);

    let arguments = [
        "scale",
        "papp",
        "orders",
        "-n",
        &objects.namespace,
        "--replicas=5",
    ];
    shared.world.cluster.kubectl(&arguments).await.unwrap();
    let app = becomes_ready(&objects, "orders").await;
    assert_eq!(app["status"]["replicas"], 5);
    assert_eq!(revision(&app), stable, "scaling makes no revision");

    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"paused": true, "config": {"LEVEL": "debug"}}}),
        )
        .await;
    let held = eventually("the pause is seen", SOON, || async {
        let app = objects.get("papp", "orders").await;
        let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
        if seen && app["status"]["phase"] == "Paused" {
            Ok(app)
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
    assert_eq!(revision(&held), stable, "nothing new while paused");

    objects
        .patch("papp", "orders", json!({"spec": {"paused": false}}))
        .await;
    let app = eventually("the configuration is released", SOON, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        if revision(&app) == stable {
            Err("old".to_owned())
        } else {
            Ok(app)
        }
    })
    .await;
    let config = objects
        .get("configmap", &format!("orders-{}", revision(&app)))
        .await;
    assert_eq!(config["data"], json!({"LEVEL": "debug"}));
}

const EVERYTHING: &str = "  replicas: 2
  config: { LEVEL: info }
  storage: { size: 1Gi, mountPath: /data }
  autoscaling: { minReplicas: 2, maxReplicas: 6 }
  disruptionBudget: { minAvailable: '1' }
  sidecars: [{ name: proxy, image: 'example/proxy:1' }]
  probes: { readiness: { httpGet: { path: /ready, port: 8080 } } }
  resources: { requests: { cpu: 100m, memory: 64Mi } }";

#[tokio::test]
async fn drift_of_every_child_is_repaired() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    shared
        .world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            EVERYTHING,
        ))
        .await;
    let current = becomes_ready(&objects, "orders").await;
    let rev = format!("orders-{}", revision(&current));
    let edits: Vec<(&str, &str, Value, &str, Value)> = vec![
        (
            "service",
            "orders",
            json!({"spec": {"ports": [{"name": "http", "port": 99, "protocol": "TCP", "targetPort": 8080}]}}),
            "/spec/ports/0/port",
            json!(8080),
        ),
        (
            "service",
            "orders",
            json!({"spec": {"selector": {"other": "x"}}}),
            "/spec/selector/other",
            Value::Null,
        ),
        (
            "configmap",
            &rev,
            json!({"data": {"LEVEL": "changed"}}),
            "/data/LEVEL",
            json!("info"),
        ),
        (
            "configmap",
            &rev,
            json!({"data": {"FOREIGN": "key"}}),
            "/data/FOREIGN",
            Value::Null,
        ),
        (
            "deployment",
            &rev,
            json!({"spec": {"replicas": 7}}),
            "/spec/replicas",
            json!(2),
        ),
        (
            "deployment",
            &rev,
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
            "/spec/template/spec/hostNetwork",
            Value::Null,
        ),
        (
            "deployment",
            &rev,
            json!({"metadata": {"labels": {"signalbox.dev/owner": "nobody"}}}),
            "/metadata/labels/signalbox.dev~1owner",
            json!("orders"),
        ),
        (
            "hpa",
            "orders",
            json!({"spec": {"maxReplicas": 9}}),
            "/spec/maxReplicas",
            json!(6),
        ),
        (
            "pdb",
            "orders",
            json!({"spec": {"minAvailable": 2}}),
            "/spec/minAvailable",
            json!(1),
        ),
        (
            "service",
            "orders",
            json!({"metadata": {"labels": null}}),
            "/metadata/labels/signalbox.dev~1owner",
            json!("orders"),
        ),
    ];
    for (kind, name, patch, pointer, wanted) in edits {
        objects.patch(kind, name, patch.clone()).await;
        eventually(
            &format!("{kind} {name}: {patch} is undone"),
            SOON,
            || async {
                let live = objects.get(kind, name).await;
                let found = live.pointer(pointer).cloned().unwrap_or(Value::Null);
                if found == wanted {
                    Ok(())
                } else {
                    Err(format!(
                        "{pointer} is {found}; {}",
                        objects.get("papp", "orders").await["status"]
                    ))
                }
            },
        )
        .await;
    }
    for (kind, name) in [
        ("service", "orders"),
        ("configmap", &rev),
        ("deployment", &rev),
        ("hpa", "orders"),
        ("pdb", "orders"),
    ] {
        let uid = objects.get(kind, name).await["metadata"]["uid"].clone();
        objects.delete(kind, name).await;
        eventually(&format!("{kind} {name} is back"), SOON, || async {
            match objects.find(kind, name).await {
                Some(live) if live["metadata"]["uid"] != uid => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }
    becomes_ready(&objects, "orders").await;
}

#[tokio::test]
async fn a_foreign_object_of_the_same_name_is_named_and_left_alone() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let foreign = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: orders, namespace: {} }}\nspec: {{ ports: [{{ port: 1 }}] }}\n",
        objects.namespace
    );
    shared.world.apply(&foreign).await;
    let audit = shared.world.audit();
    let mark = audit.mark();
    shared
        .world
        .apply(&minimal(&objects.namespace, "orders", "example/orders:1"))
        .await;
    eventually("the status names it", SOON, || async {
        let app = objects.get("papp", "orders").await;
        let text = app["status"].to_string();
        if text.contains("NameTaken") && text.contains("Service") {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
    assert_eq!(
        objects.get("service", "orders").await["spec"]["ports"][0]["port"],
        1
    );
    let writes = audit.writes_since(mark);
    let tries = writes
        .iter()
        .filter(|w| w.namespace == objects.namespace && w.resource == "services");
    assert!(tries.count() <= 2, "no loop: {writes:?}");
    objects.delete("service", "orders").await;
    becomes_ready(&objects, "orders").await;
}

#[tokio::test]
async fn deletion_keeps_or_deletes_the_volume_as_asked() {
    let shared = shared().await;
    for (policy, kept) in [("Retain", true), ("Delete", false)] {
        let objects = shared.world.namespace(&[]).await;
        let lines = format!(
            "  storage: {{ size: 1Gi, mountPath: /data }}\n  deletion: {{ storage: {policy}, gracePeriodSeconds: 1 }}"
        );
        shared
            .world
            .apply(&app(
                &objects.namespace,
                "orders",
                "example/orders:1",
                &lines,
            ))
            .await;
        becomes_ready(&objects, "orders").await;
        objects.delete("papp", "orders").await;
        // Kubernetes' collector of garbage learns of new kinds every half minute.
        let patience = SOON * 3;
        eventually("the app and its children are gone", patience, || async {
            let left = [
                objects
                    .find("papp", "orders")
                    .await
                    .map(|o| o["status"].to_string()),
                objects
                    .list("deployment")
                    .await
                    .first()
                    .map(ToString::to_string),
                objects
                    .find("service", "orders")
                    .await
                    .map(|o| o.to_string()),
            ];
            if left.iter().all(Option::is_none) {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await;
        assert_eq!(
            objects.find("pvc", "orders").await.is_some(),
            kept,
            "{policy}"
        );
    }
}
