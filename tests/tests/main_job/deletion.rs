//! Deletion: the grace period, the order in which things go, and what of it stays.

use jiff::Timestamp;
use signalbox_tests::fixtures::app;
use signalbox_tests::objects::stable;
use signalbox_tests::{Objects, eventually};

use crate::{SOON, shared};

/// Everything that an app can own, but the volume.
const OWNED: [&str; 6] = ["papp", "deployment", "service", "configmap", "hpa", "pdb"];

/// Waits until nothing of an app is left; whether its volume stays is the policy's.
async fn gone(objects: &Objects) {
    // Kubernetes' collector of garbage learns of new kinds every half minute.
    let patience = SOON * 3;
    eventually("the app and its children are gone", patience, || async {
        let mut left = Vec::new();
        for kind in OWNED {
            let found = objects.list(kind).await;
            // Kubernetes puts one into every namespace.
            let ours = found
                .iter()
                .filter(|o| o["metadata"]["name"] != "kube-root-ca.crt");
            left.extend(ours.map(|o| format!("{kind} {} {}", o["metadata"]["name"], o["status"])));
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

/// Deletes an app with a volume under a policy; whether the volume is left.
async fn leaves_its_volume(policy: &str) -> bool {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = format!(
        "  storage: {{ size: 1Gi, mountPath: /data }}\n  deletion: {{ storage: {policy}, gracePeriodSeconds: 1 }}"
    );
    let document = app(&objects.namespace, "orders", "example/orders:1", &lines);
    shared.world.apply(&document).await;
    objects.becomes_ready("orders").await;
    objects.delete("papp", "orders").await;
    gone(&objects).await;
    objects.find("pvc", "orders").await.is_some()
}

#[tokio::test]
async fn a_retained_volume_outlives_its_app() {
    assert!(leaves_its_volume("Retain").await);
}

#[tokio::test]
async fn a_volume_that_is_to_go_goes_with_its_app() {
    assert!(!leaves_its_volume("Delete").await);
}

#[tokio::test]
async fn an_app_serves_until_its_grace_period_is_over() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  replicas: 2
  config: { LEVEL: info }
  autoscaling: { minReplicas: 2, maxReplicas: 6 }
  disruptionBudget: { minAvailable: '1' }
  deletion: { gracePeriodSeconds: 4 }";
    let document = app(&objects.namespace, "orders", "example/orders:1", lines);
    shared.world.apply(&document).await;
    let deployment = format!("orders-{}", stable(&objects.becomes_ready("orders").await));
    objects.delete("papp", "orders").await;
    let deleted: Timestamp = eventually("the app terminates", SOON, || async {
        let app = objects.get("papp", "orders").await;
        let told = app["status"].to_string();
        let at = app["metadata"]["deletionTimestamp"].as_str();
        match (told.contains("serves until"), at) {
            (true, Some(at)) => Ok(at.parse().unwrap()),
            (_, at) => Err(format!("{at:?} {told}")),
        }
    })
    .await;
    let ended = eventually("its pods are asked to end", SOON, || async {
        let live = objects.get("deployment", &deployment).await;
        match live["spec"]["replicas"].as_i64() {
            Some(0) => Ok(Timestamp::now()),
            other => {
                let serving = live["status"]["availableReplicas"].as_i64();
                assert_eq!(serving, Some(2), "until then both serve");
                Err(format!("{other:?}"))
            }
        }
    })
    .await;
    // The time of deletion is whole seconds.
    let served = ended.duration_since(deleted).as_secs_f64();
    assert!(served >= 4.0, "served {served} s");
    gone(&objects).await;
}
