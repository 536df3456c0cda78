//! Drift: what others edit or delete of an app's children comes back; what is somebody else's is named and left alone.

use serde_json::{Value, json};
use signalbox_tests::eventually;
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::stable;

use crate::{SOON, shared};

pub(crate) const EVERYTHING: &str = "  replicas: 2
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
    let current = objects.becomes_ready("orders").await;
    let rev = format!("orders-{}", stable(&current));
    let current_claim = objects.get("pvc", "orders").await;
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
        (
            "pvc",
            "orders",
            json!({"metadata": {"labels": {"signalbox.dev/owner": "nobody"}}}),
            "/metadata/labels/signalbox.dev~1owner",
            json!("orders"),
        ),
        (
            "pvc",
            "orders",
            json!({"metadata": {"annotations": {"signalbox.dev/applied": "forged"}}}),
            "/metadata/annotations/signalbox.dev~1applied",
            current_claim["metadata"]["annotations"]["signalbox.dev/applied"].clone(),
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
    objects.becomes_ready("orders").await;
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
    objects.becomes_ready("orders").await;
}

/// Kubernetes keeps a volume claim as long as pods use it.
#[tokio::test]
async fn a_deleted_volume_claim_is_waited_for_and_made_again() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  replicas: 1\n  storage: { size: 1Gi, mountPath: /data }";
    let document = app(&objects.namespace, "orders", "example/orders:1", lines);
    shared.world.apply(&document).await;
    objects.becomes_ready("orders").await;
    let uid = objects.get("pvc", "orders").await["metadata"]["uid"].clone();
    objects.delete("pvc", "orders").await;
    eventually("the status tells of it", SOON, || async {
        let status = objects.get("papp", "orders").await["status"].to_string();
        if status.contains("PersistentVolumeClaim") {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
    // Without pods it goes, and comes back empty.
    objects
        .patch("papp", "orders", json!({"spec": {"replicas": 0}}))
        .await;
    eventually("a new claim stands there", SOON, || async {
        match objects.find("pvc", "orders").await {
            Some(claim) if claim["metadata"]["uid"] != uid => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    objects
        .patch("papp", "orders", json!({"spec": {"replicas": 1}}))
        .await;
    objects.becomes_ready("orders").await;
}
