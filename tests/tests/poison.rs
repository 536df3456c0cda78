//! What no executor survives, what the planner can't plan, and executors without processor time: the object
//! that is to blame is Stalled and says why, nobody else is, and a change of its spec heals it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, watcher};
use serde_json::{Value, json};
use signalbox_tests::fixtures::minimal;
use signalbox_tests::objects::condition;
use signalbox_tests::silence::falls_silent;
use signalbox_tests::wait::throughout;
use signalbox_tests::{Objects, Part, PartProcess, World, WorldOptions, eventually, fleet};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_mins(2);
const QUIET: Duration = Duration::from_secs(10);

/// Every app but those named has a status of its newest generation and no failure.
async fn all_well(objects: &Objects, but: &[&str], limit: Duration) {
    eventually("every other app is well", limit, || async {
        let apps = objects.list("papp").await;
        let ill: Vec<String> = apps
            .iter()
            .filter(|app| !but.contains(&app["metadata"]["name"].as_str().unwrap()))
            .filter(|app| {
                app["status"]["observedGeneration"] != app["metadata"]["generation"]
                    || app["status"]["lastFailure"].is_object()
            })
            .map(|app| format!("{} {}", app["metadata"]["name"], app["status"]))
            .collect();
        if ill.is_empty() {
            return Ok(());
        }
        Err(format!("{}: {:?}", ill.len(), ill.first()))
    })
    .await;
}

/// Updates round the apps; returns how long the API server took.
async fn updates(objects: &Objects, apps: usize, count: usize, round: &str) -> Duration {
    let started = Instant::now();
    futures::stream::iter(0..count)
        .for_each_concurrent(8, |number| async move {
            fleet::update(objects, number % apps, &format!("{round}-{number}")).await;
        })
        .await;
    started.elapsed()
}

/// The app once it is Stalled for `reason`.
async fn stalled(objects: &Objects, name: &str, reason: &str) -> Value {
    let what = format!("{name} is Stalled: {reason}");
    eventually(&what, PATIENCE, || async {
        let app = objects.get("papp", name).await;
        let conditions = app["status"]["conditions"].as_array().into_iter().flatten();
        let mut told = conditions.filter(|c| c["type"] == "Stalled" && c["status"] == "True");
        if told.any(|c| c["reason"] == reason) {
            Ok(app)
        } else {
            Err(app["status"].to_string())
        }
    })
    .await
}

/// The app is no longer Stalled, has no failure, and its Deployment runs `image`.
async fn healed(objects: &Objects, name: &str, image: &str) {
    eventually(&format!("{name} is healed"), PATIENCE, || async {
        let app = objects.get("papp", name).await;
        let current = app["status"]["observedGeneration"] == app["metadata"]["generation"];
        let revision = app["status"]["revision"].as_str().unwrap_or_default();
        let deployment = objects
            .find("deployment", &format!("{name}-{revision}"))
            .await
            .unwrap_or_default();
        let runs = deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone();
        let failure = app["status"]["lastFailure"].is_object();
        if current && !failure && condition(&app, "Stalled") != Some("True") && runs == image {
            Ok(())
        } else {
            Err(format!("{runs} {}", app["status"]))
        }
    })
    .await;
}

/// Notes the apps that are ever Stalled, told by a watch, not by samples.
struct Witness {
    names: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Witness {
    fn start(objects: &Objects) -> Self {
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let (api, noted) = (objects.api("papp"), Arc::clone(&names));
        let task = tokio::spawn(async move {
            let mut events = watcher(api, Config::default()).default_backoff().boxed();
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(app) | Event::InitApply(app)) = event else {
                    continue;
                };
                let app = serde_json::to_value(app).unwrap();
                if condition(&app, "Stalled") == Some("True") {
                    let name = app["metadata"]["name"].as_str().unwrap();
                    noted.lock().unwrap().insert(name.to_owned());
                }
            }
        });
        Self { names, task }
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().iter().cloned().collect()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts executors again whenever they die, as Kubernetes would.
async fn keep_up(
    world: &World,
    executors: &mut [PartProcess],
    start: impl Fn(&World) -> PartProcess,
    deaths: &AtomicU32,
) -> Infallible {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        tick.tick().await;
        for executor in &mut *executors {
            if executor.has_ended() {
                deaths.fetch_add(1, Ordering::Relaxed);
                *executor = start(world);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_kills_its_executor_stalls_its_object_alone() {
    let world = World::start("killer", WorldOptions::BARE).await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let mortal = |world: &World| {
        let crash = vec![("SIGNALBOX_CRASH_AT", "plan:example/killer".into())];
        world.part_with(Part::Executor, &[], crash)
    };
    let mut executors = [mortal(&world), mortal(&world)];
    let deaths = AtomicU32::new(0);
    let objects = world.namespace(&[]).await;
    let story = async {
        fleet::create(&world, &objects, 20).await;
        all_well(&objects, &[], PATIENCE).await;
        let stalled_ones = Witness::start(&objects);
        world
            .apply(&minimal(&objects.namespace, "killer", "example/killer:1"))
            .await;
        let others = async {
            for round in 0..5 {
                updates(&objects, 20, 40, &format!("r{round}")).await;
                all_well(&objects, &["killer"], PATIENCE).await;
            }
        };
        let (app, ()) = tokio::join!(stalled(&objects, "killer", "Interrupted"), others);
        let died = deaths.load(Ordering::Relaxed);
        println!(
            "executors died {died} times: {}",
            app["status"]["lastFailure"]
        );
        assert_eq!(died, 5, "Stalled after five");
        assert_eq!(app["status"]["lastFailure"]["attempts"], 5);
        let message = app["status"]["lastFailure"]["message"].as_str().unwrap();
        assert!(message.contains("executor"), "{message}");
        assert_eq!(
            app["status"]["observedGeneration"],
            app["metadata"]["generation"]
        );

        // Left alone for five minutes, while the others go on.
        updates(&objects, 20, 40, "afterwards").await;
        all_well(&objects, &["killer"], PATIENCE).await;
        throughout("no executor dies", QUIET, || async {
            let now = deaths.load(Ordering::Relaxed);
            if now == died { Ok(()) } else { Err(now) }
        })
        .await;

        let image = json!({"spec": {"image": "example/orders:2"}});
        objects.patch("papp", "killer", image).await;
        healed(&objects, "killer", "example/orders:2").await;
        all_well(&objects, &[], PATIENCE).await;
        assert_eq!(deaths.load(Ordering::Relaxed), died, "harmless now");
        assert_eq!(stalled_ones.names(), ["killer"]);
    };
    tokio::select! {
        never = keep_up(&world, &mut executors, mortal, &deaths) => match never {},
        () = story => {}
    }
}

/// A minimal app with environment variables of `bytes` in all, created as clients do: `kubectl apply` would
/// note all of it in an annotation.
async fn create_wide(objects: &Objects, name: &str, image: &str, bytes: usize) {
    let variables: Vec<Value> = (0..bytes.div_ceil(8_000))
        .map(|n| {
            let left = (bytes - n * 8_000).min(8_000);
            json!({"name": format!("V{n}"), "value": "x".repeat(left)})
        })
        .collect();
    let app = json!({
        "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
        "metadata": {"name": name, "namespace": objects.namespace},
        "spec": {"image": image, "env": variables, "ports": [{"name": "http", "port": 8080}]},
    });
    let app = serde_json::from_value(app).unwrap();
    let (api, params) = (objects.api("papp"), PostParams::default());
    api.create(&params, &app).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_planned_is_stalled_with_the_reason_and_alone() {
    let world = World::start("unplannable", WorldOptions::BARE).await;
    let _watcher = world.part(Part::Watcher);
    let variant = vec![("SIGNALBOX_PLANNER_VARIANT", "defect".into())];
    let mut planner = world.part_with(Part::Planner, &[], variant);
    let _executor = world.part(Part::Executor);
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, 20).await;
    all_well(&objects, &[], PATIENCE).await;

    let poison = ["panics", "wide", "heavy"];
    create_wide(&objects, "panics", "example/defect:1", 0).await;
    // Its Event just fits into a message; its Plan, with all that a Deployment needs around it, does not.
    create_wide(&objects, "wide", "example/orders:1", 256 * 1024 - 3_500).await;
    create_wide(&objects, "heavy", "example/orders:1", 300_000).await;
    for (name, reason, text) in [
        ("panics", "Unplannable", "a defect of this planner"),
        ("wide", "Unplannable", "the plan has"),
        ("heavy", "TooLarge", "do not fit into one message"),
    ] {
        let app = stalled(&objects, name, reason).await;
        assert_eq!(
            app["status"]["observedGeneration"],
            app["metadata"]["generation"]
        );
        let told = app["status"]["conditions"].to_string();
        assert!(told.contains(text), "{name}: {told}");
    }
    assert!(!planner.has_ended(), "a panic ends no planner");

    // All others go on.
    updates(&objects, 20, 60, "meanwhile").await;
    all_well(&objects, &poison, PATIENCE).await;

    // Told once, then left alone, without a place on the bus.
    let (bus, audit) = (world.bus().await, world.audit());
    falls_silent(&world, "telling", Duration::from_secs(1), PATIENCE).await;
    let (mark, messages) = (audit.mark(), bus.work_messages().await);
    throughout("they are left alone", QUIET, || async {
        let (writes, sent) = (audit.writes_since(mark), bus.work_messages().await);
        if writes.is_empty() && sent == messages {
            Ok(())
        } else {
            Err(format!("{writes:?}, {} messages", sent - messages))
        }
    })
    .await;

    for name in poison {
        let plain = json!({"spec": {"image": "example/orders:2", "env": null}});
        objects.patch("papp", name, plain).await;
        healed(&objects, name, "example/orders:2").await;
    }
    all_well(&objects, &[], PATIENCE).await;
}

/// Eight threads that never rest, until dropped.
struct BusyLoops(Arc<AtomicBool>);

impl BusyLoops {
    fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..count {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Self(stop)
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_starved_by_eight_busy_loops_stall_nobody() {
    const APPS: usize = 100;
    let world = World::start("starved", WorldOptions::BARE).await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let _executors = [world.part(Part::Executor), world.part(Part::Executor)];
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, APPS).await;
    all_well(&objects, &[], PATIENCE).await;
    let stalled_ones = Witness::start(&objects);
    let busy = BusyLoops::start(8);
    let took = updates(&objects, APPS, 20 * APPS, "starved").await;
    let quiet = Instant::now();
    all_well(&objects, &[], 5 * PATIENCE).await;
    let after = quiet.elapsed();
    drop(busy);
    println!("starved: 2,000 updates in {took:.1?}, all current {after:.1?} later");
    assert_eq!(stalled_ones.names(), Vec::<String>::new());
    for app in objects.list("papp").await {
        let revision = app["status"]["revision"].as_str().unwrap();
        let name = app["metadata"]["name"].as_str().unwrap();
        let config = objects
            .get("configmap", &format!("{name}-{revision}"))
            .await;
        assert_eq!(config["data"], app["spec"]["config"], "{name}");
    }
}
