//! Rollouts go on and end on time: over an outage of the bus, a failover, and a user who edits all the time.

use std::time::Duration;

use serde_json::json;
use signalbox_devcluster::Server;
use signalbox_tests::objects::ready;
use signalbox_tests::{World, WorldOptions, eventually};

use crate::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_goes_away_in_the_middle_of_a_rollout() {
    let world = World::start("bus-away", WorldOptions::PODS).await;
    let (_parts, _keeper) = (world.parts(), world.keep_bus());
    let objects = world.namespace(&[]).await;
    let lines = "  replicas: 4\n  rollout: { steps: [{ weight: 25, pauseSeconds: 2 }, { weight: 75 }], drainSeconds: 0 }";
    let first = world.ready_app(&objects, lines).await;
    objects.image("orders", "example/orders:2").await;
    eventually("the canary is under way", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        if app["status"]["rollout"]["weight"] == 25 {
            Ok(())
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
    world.cluster.stop_server(Server::Nats).await.unwrap();
    objects
        .patch(
            "papp",
            "orders",
            json!({"metadata": {"labels": {"while": "away"}}}),
        )
        .await;
    world.cluster.start_server(Server::Nats).await.unwrap();
    eventually("the rollout finishes", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        if app["status"]["stable"] == first["status"]["stable"] {
            Err("old".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
}

/// A canary's pause goes on through a failover of all parts, and ends on time.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_thirty_seconds_ends_on_time_over_a_failover() {
    let world = World::start("pause", WorldOptions::PODS).await;
    let mut parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines =
        "  replicas: 2\n  rollout: { steps: [{ weight: 50, pauseSeconds: 30 }], drainSeconds: 0 }";
    world.ready_app(&objects, lines).await;
    objects.image("orders", "example/orders:2").await;
    let reached: jiff::Timestamp = eventually("the step is reached", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        app["status"]["rollout"]["stepReachedAt"]
            .as_str()
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| app["status"].to_string())
    })
    .await;
    for part in &mut parts {
        part.kill().await;
    }
    drop(parts);
    let _parts = world.parts();
    let promoted: jiff::Timestamp = eventually("it is promoted", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        app["status"]["rollout"]["promotedAt"]
            .as_str()
            .and_then(|t| t.parse().ok())
            .ok_or_else(|| app["status"].to_string())
    })
    .await;
    let paused = promoted.duration_since(reached).as_secs_f64();
    assert!((30.0..35.0).contains(&paused), "paused for {paused} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_edits_all_the_time_does_not_hold_up_the_steps() {
    let world = World::start("edits", WorldOptions::PODS).await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines =
        "  replicas: 2\n  rollout: { steps: [{ weight: 50, pauseSeconds: 1 }], drainSeconds: 0 }";
    world.ready_app(&objects, lines).await;
    objects.image("orders", "example/orders:2").await;
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let mut edits = 0_u32;
    let promoted = loop {
        tick.tick().await;
        edits += 1;
        let patch = json!({"spec": {"rollout": {"progressDeadlineSeconds": 600 + edits}}});
        let app = objects.patch("papp", "orders", patch).await;
        if app["status"]["rollout"]["state"] == "Completed"
            && app["status"]["rollout"]["base"].is_string()
        {
            break true;
        }
        if edits > 1_200 {
            break false;
        }
    };
    let app = objects.get("papp", "orders").await;
    assert!(promoted, "after {edits} edits: {}", app["status"]);
}
