//! Create, update and refuse: the writes of a minimal app, a canary to its promotion, a bad image back.

use std::sync::Mutex;

use signalbox_tests::eventually;
use signalbox_tests::fixtures::minimal;
use signalbox_tests::objects::{condition, ready, stable};

use crate::{SOON, shared};

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
    let app = objects.becomes_ready("orders").await;
    let revision = stable(&app);
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
    let before = stable(&shared.world.ready_app(&objects, steps).await);
    objects.image("orders", "example/orders:2").await;
    let weights = Mutex::new(Vec::new());
    let app = eventually("the new image is promoted", SOON, || async {
        let app = objects.get("papp", "orders").await;
        weights
            .lock()
            .unwrap()
            .push(app["status"]["rollout"]["weight"].as_i64());
        ready(&app)?;
        if stable(&app) == before {
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
    let serving = stable(&app);
    let new = objects
        .get("deployment", &format!("orders-{serving}"))
        .await;
    assert_eq!(
        new["spec"]["template"]["spec"]["containers"][0]["image"],
        "example/orders:2"
    );
    assert_eq!(new["status"]["availableReplicas"], 4);
    let events = objects.list("event").await;
    let promoted = events
        .iter()
        .filter(|event| event["reason"] == "Promoted" && event["regarding"]["name"] == "orders");
    let told: Vec<_> = promoted.map(|event| &event["note"]).collect();
    assert_eq!(told.len(), 1, "{events:?}");
    let service = objects.get("service", "orders").await;
    let selector = service["spec"]["selector"].as_object().unwrap();
    assert!(
        selector.contains_key(&format!("serves.signalbox.dev/{serving}")),
        "{selector:?}"
    );
}

#[tokio::test]
async fn a_bad_image_is_rolled_back_while_the_old_revision_serves() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  replicas: 3\n  rollout: { progressDeadlineSeconds: 3, drainSeconds: 1, steps: [{ weight: 30 }] }";
    let before = shared.world.ready_app(&objects, lines).await;
    let serving = stable(&before);
    objects.image("orders", "example/bad:2").await;
    let after = eventually("it is rolled back", SOON, || async {
        // All the while the old revision serves with all its pods.
        let old = objects
            .get("deployment", &format!("orders-{serving}"))
            .await;
        assert_eq!(old["status"]["availableReplicas"], 3, "{old}");
        let service = objects.get("service", "orders").await;
        let selector = service["spec"]["selector"].as_object().unwrap();
        let label = format!("serves.signalbox.dev/{serving}");
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
    assert_eq!(after["status"]["stable"], serving.as_str());
    assert_eq!(after["status"]["rollout"]["state"], "RolledBack");
    assert_eq!(
        condition(&after, "Ready"),
        Some("False"),
        "what was asked for does not run"
    );
    let old = objects
        .get("deployment", &format!("orders-{serving}"))
        .await;
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
    objects.image("orders", "example/orders:3").await;
    objects.becomes_ready("orders").await;
}
