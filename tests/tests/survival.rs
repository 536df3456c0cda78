//! Kills, takeovers, a bus that goes away, rights that go away, messages that nobody can use.

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

use futures::StreamExt as _;
use serde_json::json;
use signalbox_common::subject::Stream;
use signalbox_devcluster::Server;
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::{condition, ready};
use signalbox_tests::silence::falls_silent;
use signalbox_tests::wait::throughout;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(2);

async fn create(world: &World, objects: &Objects, apps: usize) {
    let documents: Vec<String> = (0..apps)
        .map(|n| minimal(&objects.namespace, &format!("app-{n}"), "example/orders:1"))
        .collect();
    for chunk in documents.chunks(100) {
        world.apply(&chunk.join("---")).await;
    }
}

async fn all_current(world: &World, objects: &Objects) {
    let bus = world.bus().await;
    eventually(
        "every app at its newest generation, nothing in flight",
        PATIENCE,
        || async {
            let apps = objects.list("papp").await;
            let behind = apps
                .iter()
                .filter(|a| a["status"]["observedGeneration"] != a["metadata"]["generation"])
                .count();
            let open = bus.open().await;
            if behind == 0 && open == 0 {
                Ok(())
            } else {
                Err(format!("{behind} behind, {open} open"))
            }
        },
    )
    .await;
}

async fn updates(objects: &Objects, apps: usize, count: usize, round: &str) {
    futures::stream::iter(0..count)
        .for_each_concurrent(8, |number| async move {
            let patch = json!({"spec": {"config": {"ROUND": format!("{round}-{number}")}}});
            objects
                .patch("papp", &format!("app-{}", number % apps), patch)
                .await;
        })
        .await;
}

/// Three executors, two planners, two watchers; each kind of part is killed in the middle of a storm.
#[tokio::test(flavor = "multi_thread")]
async fn kills_in_a_storm_lose_nothing_and_do_nothing_twice() {
    let world = World::start("kills", WorldOptions::default()).await;
    let mut watchers = vec![world.part(Part::Watcher), world.part(Part::Watcher)];
    let mut planners = vec![world.part(Part::Planner), world.part(Part::Planner)];
    let mut executors: Vec<_> = (0..3).map(|_| world.part(Part::Executor)).collect();
    let objects = world.namespace(&[]).await;
    create(&world, &objects, 60).await;
    all_current(&world, &objects).await;
    let sampler = world.bus().await.sample();
    let mark = world.audit().mark();
    for round in 0..3 {
        let word = format!("r{round}");
        let storm = updates(&objects, 60, 600, &word);
        let kill = async {
            match round {
                0 => {
                    executors.remove(0).kill().await;
                    executors.push(world.part(Part::Executor));
                }
                1 => {
                    planners.remove(0).kill().await;
                    planners.push(world.part(Part::Planner));
                }
                _ => {
                    watchers.remove(0).kill().await;
                    watchers.push(world.part(Part::Watcher));
                }
            }
        };
        tokio::join!(storm, kill);
        // Sent in the gap of a takeover, too.
        updates(&objects, 60, 60, &format!("gap{round}")).await;
    }
    all_current(&world, &objects).await;
    let peak = sampler.finish().await;
    assert!(peak.stream <= 50 && peak.flights <= 50, "{peak:?}");

    // Nothing twice: each revision's objects were created at most once.
    let mut created = std::collections::BTreeMap::<String, u32>::new();
    for write in world.audit().writes_since(mark) {
        if write.resource == "configmaps" && write.code == 201 {
            *created.entry(write.name).or_default() += 1;
        }
    }
    let twice: Vec<_> = created.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for app in objects.list("papp").await {
        let revision = app["status"]["revision"].as_str().unwrap();
        let name = app["metadata"]["name"].as_str().unwrap();
        let config = objects
            .get("configmap", &format!("{name}-{revision}"))
            .await;
        assert_eq!(config["data"], app["spec"]["config"], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_converged_fleet_is_silent_also_after_a_restart() {
    let world = World::start(
        "silent",
        WorldOptions {
            controllers: true,
            postgres: false,
        },
    )
    .await;
    let mut parts = world.parts();
    let objects = world.namespace(&[]).await;
    create(&world, &objects, 200).await;
    eventually("all are Ready", PATIENCE, || async {
        let apps = objects.list("papp").await;
        let waiting: Vec<_> = apps.iter().filter_map(|a| ready(a).err()).collect();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(format!("{}: {}", waiting.len(), waiting[0]))
        }
    })
    .await;
    all_current(&world, &objects).await;
    falls_silent(&world, "becoming ready", Duration::from_secs(1), PATIENCE).await;
    let (bus, audit) = (world.bus().await, world.audit());
    let (mark, messages) = (audit.mark(), bus.work_messages().await);
    throughout(
        "a converged fleet is silent",
        Duration::from_mins(1),
        || async {
            let (writes, sent) = (audit.writes_since(mark), bus.work_messages().await);
            if writes.is_empty() && sent == messages {
                Ok(())
            } else {
                Err(format!("{writes:?}, {} messages", sent - messages))
            }
        },
    )
    .await;

    for part in &mut parts {
        part.terminate().await;
    }
    drop(parts);
    let mark = audit.mark();
    let _parts = world.parts();
    // A fresh change is served: the restart is over.
    objects
        .patch("papp", "app-0", json!({"spec": {"replicas": 2}}))
        .await;
    eventually("a fresh change is served", PATIENCE, || async {
        let app = objects.get("papp", "app-0").await;
        ready(&app)
    })
    .await;
    all_current(&world, &objects).await;
    let others: Vec<_> = audit
        .writes_since(mark)
        .into_iter()
        .filter(|w| !w.name.starts_with("app-0"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_goes_away_in_the_middle_of_a_rollout() {
    let world = World::start(
        "bus-away",
        WorldOptions {
            controllers: true,
            postgres: false,
        },
    )
    .await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines = "  replicas: 4\n  rollout: { steps: [{ weight: 25, pauseSeconds: 2 }, { weight: 75 }], drainSeconds: 0 }";
    world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    let first = eventually("Ready", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app).map(|()| app)
    })
    .await;
    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"image": "example/orders:2"}}),
        )
        .await;
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
    let world = World::start(
        "pause",
        WorldOptions {
            controllers: true,
            postgres: false,
        },
    )
    .await;
    let mut parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines =
        "  replicas: 2\n  rollout: { steps: [{ weight: 50, pauseSeconds: 30 }], drainSeconds: 0 }";
    world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    eventually("Ready", PATIENCE, || async {
        ready(&objects.get("papp", "orders").await)
    })
    .await;
    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"image": "example/orders:2"}}),
        )
        .await;
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
    let world = World::start(
        "edits",
        WorldOptions {
            controllers: true,
            postgres: false,
        },
    )
    .await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines =
        "  replicas: 2\n  rollout: { steps: [{ weight: 50, pauseSeconds: 1 }], drainSeconds: 0 }";
    world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    eventually("Ready", PATIENCE, || async {
        ready(&objects.get("papp", "orders").await)
    })
    .await;
    objects
        .patch(
            "papp",
            "orders",
            json!({"spec": {"image": "example/orders:2"}}),
        )
        .await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_is_named_and_others_go_on() {
    let world = World::start("rights", WorldOptions::default()).await;
    let _parts = world.parts();
    let free = world.namespace(&[]).await;
    // The right to Services goes for everybody but is given back in one namespace.
    let rules = world
        .cluster
        .kubectl(&["get", "clusterrole", "signalbox-executor", "-o", "yaml"])
        .await
        .unwrap();
    let without: String = rules.replace("- services\n", "- nothings\n");
    assert_ne!(rules, without, "the rule is found: {rules}");
    let blocked = world.namespace(&[]).await;
    world
        .apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: services, namespace: {ns} }}
rules: [{{ apiGroups: [''], resources: [services], verbs: [get, create, update, patch, delete] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: services, namespace: {ns} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: services }}
subjects: [{{ kind: ServiceAccount, name: executor, namespace: signalbox-system }}]
",
            ns = free.namespace
        ))
        .await;
    // Without what the server assigned, so that it can be applied again.
    let bare = |text: &str| -> String {
        let assigned = ["resourceVersion:", "uid:", "creationTimestamp:"];
        text.lines()
            .filter(|l| !assigned.iter().any(|a| l.contains(a)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    world.apply(&bare(&without)).await;
    create(&world, &blocked, 60).await;
    eventually("each says which right is missing", PATIENCE, || async {
        let apps = blocked.list("papp").await;
        let silent: Vec<_> = apps
            .iter()
            .filter(|a| {
                let text = a["status"].to_string();
                !(text.contains("Forbidden") && text.contains("services"))
            })
            .collect();
        if silent.is_empty() {
            Ok(())
        } else {
            Err(format!("{} silent: {}", silent.len(), silent[0]["status"]))
        }
    })
    .await;
    create(&world, &free, 10).await;
    all_current(&world, &free).await;
    assert!(
        free.find("service", "app-9").await.is_some(),
        "the others go on"
    );
    world.apply(&bare(&rules)).await;
    // A change bypasses the backoff; without one it heals within five minutes.
    for number in 0..60 {
        let patch = json!({"spec": {"replicas": 2}});
        blocked.patch("papp", &format!("app-{number}"), patch).await;
    }
    eventually("it heals", PATIENCE, || async {
        let services = blocked.list("service").await.len();
        let failing = blocked
            .list("papp")
            .await
            .iter()
            .filter(|a| a["status"]["lastFailure"].is_object())
            .count();
        if services == 60 && failing == 0 {
            Ok(())
        } else {
            Err(format!("{services} services, {failing} failing"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_can_use_end_in_dead_and_free_their_place() {
    let world = World::start("poison", WorldOptions::default()).await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let url = world.cluster.nats_url().unwrap();
    let seed = |role: &str| {
        std::fs::read_to_string(world.seed(role))
            .unwrap()
            .trim()
            .to_owned()
    };
    let connect = |role: &'static str| {
        let (seed, url) = (seed(role), url.clone());
        async move {
            async_nats::ConnectOptions::with_nkey(seed)
                .custom_inbox_prefix(format!("_INBOX_{role}"))
                .connect(url)
                .await
                .unwrap()
        }
    };
    let (watcher, planner) = (connect("watcher").await, connect("planner").await);
    let event = format!("sb.event.suite.PortfolioApp.{}.ghost", objects.namespace);
    let plan = format!("sb.plan.suite.PortfolioApp.{}.ghost", objects.namespace);
    let bus = world.bus().await;
    let mut dead = bus.last_sequence(Stream::Dead).await;
    for body in ["not json", "{}", r#"{"schema":99}"#, r#"{"schema":1}"#] {
        watcher.publish(event.clone(), body.into()).await.unwrap();
        watcher.flush().await.unwrap();
        planner.publish(plan.clone(), body.into()).await.unwrap();
        planner.flush().await.unwrap();
        dead += 2;
        eventually(
            &format!("{body} is in DEAD, its place is free"),
            PATIENCE,
            || async {
                let (stored, open) = (bus.last_sequence(Stream::Dead).await, bus.open().await);
                if stored >= dead && open == 0 {
                    Ok(())
                } else {
                    Err(format!("{stored} of {dead} dead, {open} open"))
                }
            },
        )
        .await;
    }
    create(&world, &objects, 5).await;
    all_current(&world, &objects).await;
    let app = objects.get("papp", "app-0").await;
    assert_ne!(
        condition(&app, "Stalled"),
        Some("True"),
        "{}",
        app["status"]
    );
}
