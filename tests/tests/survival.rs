//! Kills, takeovers, a bus that goes away, rights that go away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::json;
use signalbox_common::subject::Stream;
use signalbox_devcluster::Server;
use signalbox_tests::bus::BusView;
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::ready;
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

/// One update of each app at a time, over and over until `over`; `sent` counts what the server took.
async fn storm(objects: &Objects, apps: usize, sent: &AtomicUsize, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        futures::stream::iter(0..apps)
            .for_each_concurrent(8, |number| async move {
                let word = format!("{number}-{}", sent.load(Ordering::Relaxed));
                let patch = json!({"spec": {"config": {"ROUND": word}}});
                objects.patch("papp", &format!("app-{number}"), patch).await;
                sent.fetch_add(1, Ordering::Relaxed);
            })
            .await;
    }
}

/// Waits until the storm took `more` updates and flights are open.
async fn in_the_storm(bus: &BusView, sent: &AtomicUsize, more: usize) {
    let wanted = sent.load(Ordering::Relaxed) + more;
    eventually("the storm is under way", PATIENCE, || async {
        let (sent, open) = (sent.load(Ordering::Relaxed), bus.open().await);
        if sent >= wanted && open > 0 {
            Ok(())
        } else {
            Err(format!("{sent} of {wanted} sent, {open} open"))
        }
    })
    .await;
}

/// Instance that holds the watchers' Lease.
async fn leader(system: &Objects) -> String {
    let lease = system.get("lease", "signalbox-watcher").await;
    let holder = lease["spec"]["holderIdentity"].as_str();
    holder.unwrap_or_default().to_owned()
}

/// Three executors, two planners, two watchers; each kind of part is killed in the middle of a storm,
/// the watcher that leads; it is replaced only when the storm went on without it.
#[tokio::test(flavor = "multi_thread")]
async fn kills_in_a_storm_lose_nothing_and_do_nothing_twice() {
    let world = World::start("kills", WorldOptions::default()).await;
    let mut watchers = vec![world.part(Part::Watcher), world.part(Part::Watcher)];
    let mut planners = vec![world.part(Part::Planner), world.part(Part::Planner)];
    let mut executors: Vec<_> = (0..3).map(|_| world.part(Part::Executor)).collect();
    let objects = world.namespace(&[]).await;
    let system = world.objects("signalbox-system").await;
    create(&world, &objects, 60).await;
    all_current(&world, &objects).await;
    let bus = world.bus().await;
    let sampler = bus.sample();
    let mark = world.audit().mark();
    let (sent, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let kills = async {
        in_the_storm(&bus, &sent, 60).await;
        executors.remove(0).kill().await;
        in_the_storm(&bus, &sent, 120).await;
        executors.push(world.part(Part::Executor));

        in_the_storm(&bus, &sent, 120).await;
        planners.remove(0).kill().await;
        in_the_storm(&bus, &sent, 120).await;
        planners.push(world.part(Part::Planner));

        in_the_storm(&bus, &sent, 120).await;
        let first = leader(&system).await;
        let place = watchers.iter().position(|w| w.instance == first);
        watchers
            .remove(place.expect("one of them leads"))
            .kill()
            .await;
        let killed_at = sent.load(Ordering::Relaxed);
        eventually("the standby takes over", PATIENCE, || async {
            let now = leader(&system).await;
            if now == watchers[0].instance {
                Ok(())
            } else {
                Err(now)
            }
        })
        .await;
        let in_the_gap = sent.load(Ordering::Relaxed) - killed_at;
        assert!(in_the_gap > 0, "nothing was sent in the gap");
        watchers.push(world.part(Part::Watcher));
        in_the_storm(&bus, &sent, 120).await;
        over.store(true, Ordering::Relaxed);
        in_the_gap
    };
    let ((), in_the_gap) = tokio::join!(storm(&objects, 60, &sent, &over), kills);
    println!("{sent:?} updates, {in_the_gap} of them while no watcher led");
    all_current(&world, &objects).await;
    let peak = sampler.finish().await;
    assert!(peak.stream <= 50 && peak.flights <= 50, "{peak:?}");

    // Nothing twice: each revision's objects were created at most once.
    let mut created = BTreeMap::<(String, String), u32>::new();
    for write in world.audit().writes_since(mark) {
        if write.code == 201 {
            *created.entry((write.resource, write.name)).or_default() += 1;
        }
    }
    for resource in ["configmaps", "deployments"] {
        let kinds = created.keys().filter(|(of, _)| of == resource).count();
        assert!(kinds >= 60, "{kinds} {resource}: {created:?}");
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

/// Names of the apps of a namespace that LEDGER tells of as planned, followed from a mark on.
struct Planned {
    namespace: String,
    ledger: async_nats::jetstream::stream::Stream<()>,
    next: Cell<u64>,
    names: RefCell<BTreeSet<String>>,
}

impl Planned {
    async fn from_now(world: &World, objects: &Objects) -> Self {
        let seed = std::fs::read_to_string(world.seed("reader")).unwrap();
        let client = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix("_INBOX_reader")
            .connect(world.cluster.nats_url().unwrap())
            .await
            .unwrap();
        let streams = async_nats::jetstream::new(client);
        let last = world.bus().await.last_sequence(Stream::Ledger).await;
        Self {
            namespace: objects.namespace.clone(),
            ledger: streams.get_stream_no_info("LEDGER").await.unwrap(),
            next: Cell::new(last + 1),
            names: RefCell::default(),
        }
    }

    /// How many apps were planned so far: an Event, or the one line of a settled plan.
    async fn count(&self, bus: &BusView) -> usize {
        let last = bus.last_sequence(Stream::Ledger).await;
        while self.next.get() <= last {
            let entry = self.ledger.get_raw_message(self.next.get()).await.unwrap();
            let of = |entry| format!("sb.ledger.suite.{entry}.PortfolioApp.{}.", self.namespace);
            let name = ["event", "settled"]
                .into_iter()
                .find_map(|word| entry.subject.strip_prefix(&of(word)));
            if let Some(name) = name {
                self.names.borrow_mut().insert(name.to_owned());
            }
            self.next.set(self.next.get() + 1);
        }
        self.names.borrow().len()
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
    let planned = Planned::from_now(&world, &objects).await;
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
    eventually("every app is looked at again", PATIENCE, || async {
        match planned.count(&bus).await {
            200 => Ok(()),
            some => Err(format!("{some} of 200 planned")),
        }
    })
    .await;
    falls_silent(&world, "a restart", Duration::from_secs(2), PATIENCE).await;
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
    let mut parts = world.parts();
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
        none(silent(&blocked).await)
    })
    .await;
    create(&world, &free, 10).await;
    all_current(&world, &free).await;
    assert!(
        free.find("service", "app-9").await.is_some(),
        "the others go on"
    );

    // A failover of all parts: it stays said while every app is looked at again, and behind that.
    let bus = world.bus().await;
    for part in &mut parts {
        part.kill().await;
    }
    drop(parts);
    let planned = Planned::from_now(&world, &blocked).await;
    let _parts = world.parts();
    eventually("all are looked at again", PATIENCE, || async {
        let unsaid = silent(&blocked).await;
        assert!(unsaid.is_empty(), "forgotten in the failover: {unsaid:?}");
        match planned.count(&bus).await {
            60 => Ok(()),
            some => Err(format!("{some} of 60 planned")),
        }
    })
    .await;
    throughout("it stays said", Duration::from_secs(3), || async {
        none(silent(&blocked).await)
    })
    .await;
    free.patch("papp", "app-0", json!({"spec": {"replicas": 2}}))
        .await;
    eventually("the others go on after the failover", PATIENCE, || async {
        let deployments = free.list("deployment").await;
        let scaled = deployments.iter().filter(|d| d["spec"]["replicas"] == 2);
        match scaled.count() {
            1 => Ok(()),
            some => Err(format!("{some} scaled")),
        }
    })
    .await;

    // Nobody touches the apps: time alone heals them, at the latest after the longest backoff.
    world.apply(&bare(&rules)).await;
    eventually("it heals", Duration::from_mins(6), || async {
        let services = blocked.list("service").await.len();
        let apps = blocked.list("papp").await;
        let failing = apps
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
    for app in blocked.list("papp").await {
        assert_eq!(app["metadata"]["generation"], 1, "nobody changed it");
    }
}

/// Apps whose status does not name verb, resource and namespace of the missing right.
async fn silent(blocked: &Objects) -> Vec<String> {
    let apps = blocked.list("papp").await;
    assert_eq!(apps.len(), 60);
    apps.iter()
        .filter(|app| {
            let failure = &app["status"]["lastFailure"];
            let name = app["metadata"]["name"].as_str().unwrap();
            let right = format!(
                "failed to patch services {name} in namespace {}: ",
                blocked.namespace
            );
            let message = failure["message"].as_str().unwrap_or_default();
            failure["class"] != "Forbidden" || !message.starts_with(&right)
        })
        .map(|app| format!("{}: {}", app["metadata"]["name"], app["status"]))
        .collect()
}

/// Refuses with the first of `unsaid`, if any.
fn none(unsaid: Vec<String>) -> Result<(), String> {
    let count = unsaid.len();
    match unsaid.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(format!("{count} silent: {first}")),
    }
}
