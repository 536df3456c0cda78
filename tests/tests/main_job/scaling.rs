//! Scaling by hand and by an autoscaler, pausing, and a change of configuration.

use std::time::Duration;

use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use signalbox_tests::eventually;
use signalbox_tests::objects::{ready, stable};
use signalbox_tests::wait::throughout;

use crate::{SOON, shared};

#[tokio::test]
async fn scaling_pausing_and_configuration() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines =
        "  config: { LEVEL: info }\n  rollout: { steps: [{ weight: 50 }], drainSeconds: 0 }";
    let first = stable(&shared.world.ready_app(&objects, lines).await);

    let before = objects.list("pod").await;
    let arguments = [
        "scale",
        "papp",
        "orders",
        "-n",
        &objects.namespace,
        "--replicas=5",
    ];
    shared.world.cluster.kubectl(&arguments).await.unwrap();
    let app = objects.becomes_ready("orders").await;
    assert_eq!(app["status"]["replicas"], 5);
    let pods: Vec<_> = objects.list("pod").await;
    for pod in before {
        let stays = |other: &Value| other["metadata"]["uid"] == pod["metadata"]["uid"];
        assert!(pods.iter().any(stays), "no pod restarts: {pods:?}");
    }
    assert_eq!(stable(&app), first, "scaling makes no revision");

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
    assert_eq!(stable(&held), first, "nothing new while paused");

    objects
        .patch("papp", "orders", json!({"spec": {"paused": false}}))
        .await;
    let app = eventually("the configuration is released", SOON, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        if stable(&app) == first {
            Err("old".to_owned())
        } else {
            Ok(app)
        }
    })
    .await;
    let config = objects
        .get("configmap", &format!("orders-{}", stable(&app)))
        .await;
    assert_eq!(config["data"], json!({"LEVEL": "debug"}));
}

/// The plan that takes the last pods rests on the app's own wish for none, which the executor reads.
#[tokio::test]
async fn an_app_goes_to_no_pods_with_a_new_image_and_comes_back() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  rollout: { drainSeconds: 0 }";
    let first = stable(&shared.world.ready_app(&objects, lines).await);
    let nothing = json!({"spec": {"image": "example/orders:2", "replicas": 0}});
    objects.patch("papp", "orders", nothing).await;
    let app = objects.becomes_ready("orders").await;
    let second = stable(&app);
    assert_ne!(second, first);
    eventually("every pod goes", SOON, || async {
        match objects.list("pod").await.len() {
            0 => Ok(()),
            left => Err(format!("{left} pods are left")),
        }
    })
    .await;
    let back = json!({"spec": {"replicas": 2}});
    objects.patch("papp", "orders", back).await;
    let app = objects.becomes_ready("orders").await;
    assert_eq!(stable(&app), second, "scaling makes no revision");
    assert_eq!(app["status"]["replicas"], 2);
}

#[tokio::test]
async fn a_canary_that_is_paused_stands_still_and_goes_on_from_there() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  replicas: 4\n  rollout: { steps: [{ weight: 25, pauseSeconds: 2 }, { weight: 50 }], drainSeconds: 0 }";
    let first = stable(&shared.world.ready_app(&objects, lines).await);
    let next = json!({"spec": {"image": "example/orders:2"}});
    objects.patch("papp", "orders", next).await;
    let canary = |word: &'static str| {
        let objects = &objects;
        async move {
            eventually(word, SOON, || async {
                let app = objects.get("papp", "orders").await;
                let (weight, phase) =
                    (&app["status"]["rollout"]["weight"], &app["status"]["phase"]);
                let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
                if seen && *weight == 25 && phase == word {
                    Ok(())
                } else {
                    Err(app["status"].to_string())
                }
            })
            .await;
        }
    };
    canary("Progressing").await;
    objects
        .patch("papp", "orders", json!({"spec": {"paused": true}}))
        .await;
    canary("Paused").await;
    // Longer than the step's own pause.
    throughout(
        "the canary stands still",
        Duration::from_secs(4),
        || async {
            let app = objects.get("papp", "orders").await;
            let weight = &app["status"]["rollout"]["weight"];
            if *weight == 25 && stable(&app) == first {
                Ok(())
            } else {
                Err(app["status"].to_string())
            }
        },
    )
    .await;
    objects
        .patch("papp", "orders", json!({"spec": {"paused": false}}))
        .await;
    let app = objects.becomes_ready("orders").await;
    assert_ne!(stable(&app), first);
}

/// The scale subresource is what an autoscaler reads and writes: the app's, never a Deployment's.
#[tokio::test]
async fn an_autoscaler_scales_the_app_and_is_left_alone() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let lines = "  autoscaling: { minReplicas: 2, maxReplicas: 6 }";
    let app = shared.world.ready_app(&objects, lines).await;
    let target = objects.get("hpa", "orders").await["spec"]["scaleTargetRef"].clone();
    let expected =
        json!({"apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp", "name": "orders"});
    assert_eq!(target, expected);

    let (audit, mark) = (shared.world.audit(), shared.world.audit().mark());
    let mut wanted = objects.api("papp").get_scale("orders").await.unwrap();
    let selector = wanted.status.as_ref().unwrap().selector.clone().unwrap();
    assert_eq!(selector, app["status"]["selector"].as_str().unwrap());
    wanted.spec.as_mut().unwrap().replicas = Some(4);
    objects
        .api("papp")
        .replace_scale("orders", &PostParams::default(), &wanted)
        .await
        .unwrap();
    eventually("four pods serve", SOON, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        if app["status"]["readyReplicas"] == 4 {
            Ok(())
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
    // What the autoscaler counts are the pods of the selector.
    let params = ListParams::default().labels(&selector);
    let pods = objects.api("pod").list(&params).await.unwrap();
    assert_eq!(pods.items.len(), 4);
    let writes = audit.done_in(mark, &objects.namespace);
    let touched = writes
        .iter()
        .any(|write| write.contains("horizontalpodautoscalers"));
    assert!(!touched, "{writes:?}");
}
