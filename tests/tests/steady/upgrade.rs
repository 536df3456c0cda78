//! An older build that is upgraded part by part, executors, planners, watcher, while apps change all the time and a canary
//! is under way.
//!
//! The older build writes messages of this schema and plans by a changed rule; the newer one writes the next schema and
//! reads both, as the features `variants` make them. Nothing else differs, so that what differs in a replay is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signalbox_common::subject::Stream;
use signalbox_common::wire::SCHEMA;
use signalbox_tests::figures::figure;
use signalbox_tests::fixtures::{app, migration};
use signalbox_tests::objects::{ready, stable};
use signalbox_tests::{Objects, Part, PartProcess, World, eventually, fleet};

use crate::{PATIENCE, world};

/// Apps that change all the time.
const APPS: usize = 12;
/// Time between two changes.
const EVERY: Duration = Duration::from_millis(100);
const CANARY: &str = "  replicas: 4
  rollout: { steps: [{ weight: 25, pauseSeconds: 8 }, { weight: 50, pauseSeconds: 8 }], drainSeconds: 0 }";
const FILE: &str = "  - name: V1__never.sql\n    sql: SELECT 1";

fn newer() -> Vec<(&'static str, OsString)> {
    vec![("SIGNALBOX_WIRE_SCHEMA", (SCHEMA + 1).to_string().into())]
}

fn older(world: &World, part: Part) -> PartProcess {
    let environment = match part {
        Part::Planner => vec![("SIGNALBOX_PLANNER_VARIANT", "changed-rule".into())],
        Part::Watcher | Part::Executor => Vec::new(),
    };
    world.part_with(part, &[], environment)
}

/// Starts the newer build beside the older one, and ends that once the other one is ready.
async fn replace(world: &World, old: &mut PartProcess) -> PartProcess {
    let new = world.part_with(old.part, &[], newer());
    eventually(&format!("{} is ready", new.instance), PATIENCE, || async {
        match new.answer("/readyz").await {
            (200, _) => Ok(()),
            (_, text) => Err(text),
        }
    })
    .await;
    old.terminate().await;
    new
}

/// Uids of the namespace's pods by app and revision.
async fn pods(objects: &Objects, of: &str) -> BTreeSet<String> {
    let pods = objects.list("pod").await;
    let own = pods.iter().filter(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap();
        name.starts_with(of) && pod["metadata"]["deletionTimestamp"].is_null()
    });
    own.map(|pod| pod["metadata"]["uid"].to_string()).collect()
}

/// Numbers of the replay's last line, by word.
fn summary(text: &str) -> BTreeMap<String, usize> {
    let last = text.trim().lines().last().unwrap();
    let words = last.split(", ").map(|part| {
        let (number, word) = part.split_once(' ').unwrap();
        (word.to_owned(), number.parse().unwrap())
    });
    words.collect()
}

/// A change is planned for and done.
async fn serves_a_change(objects: &Objects, word: &str) {
    let app = objects.patch("papp", "still-0", json!({"metadata": {"annotations": {"word": word}}, "spec": {"rollout": {"progressDeadlineSeconds": 600 + word.len()}}})).await;
    let generation = app["metadata"]["generation"].clone();
    eventually("a change is served", PATIENCE, || async {
        let app = objects.get("papp", "still-0").await;
        if app["status"]["observedGeneration"].as_i64() >= generation.as_i64() {
            Ok(())
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_build_is_upgraded_under_load() {
    let world = world("steady-upgrade").await;
    let [mut watcher, mut planner, mut executor] =
        [Part::Watcher, Part::Planner, Part::Executor].map(|part| older(&world, part));
    let objects = world.namespace(&[]).await;
    let space = &objects.namespace;
    fleet::create(&world, &objects, APPS).await;
    let still: Vec<_> = (0..3)
        .map(|number| {
            app(
                space,
                &format!("still-{number}"),
                "example/orders:1",
                "  replicas: 1",
            )
        })
        .collect();
    world.apply(&still.join("---")).await;
    // Its file is claimed by the older build's rule; there is no database, so that no more comes of it.
    world.apply(&migration(space, "schema", None, FILE)).await;
    let first = world.ready_app(&objects, CANARY).await;
    for number in 0..3 {
        objects.becomes_ready(&format!("still-{number}")).await;
    }
    let unmoved = pods(&objects, "still-").await;
    assert_eq!(unmoved.len(), 3);
    let (bus, mark) = (world.bus().await, world.audit().mark());
    let sampler = bus.sample();

    let changes = std::sync::Arc::new(AtomicUsize::new(0));
    let (changing, counted) = (objects.clone(), changes.clone());
    let load = tokio::spawn(async move {
        loop {
            let round = counted.fetch_add(1, Ordering::Relaxed);
            fleet::update(&changing, round % APPS, &round.to_string()).await;
            tokio::time::sleep(EVERY).await;
        }
    });
    objects.image("orders", "example/orders:2").await;
    eventually("the canary is under way", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        let rollout = &app["status"]["rollout"];
        if rollout["state"] == "Progressing" && rollout["stepReachedAt"].is_string() {
            Ok(())
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
    let canary = pods(&objects, "orders-").await;
    let _executor = replace(&world, &mut executor).await;
    serves_a_change(&objects, "a").await;
    let _planner = replace(&world, &mut planner).await;
    serves_a_change(&objects, "bb").await;
    let _watcher = replace(&world, &mut watcher).await;
    serves_a_change(&objects, "ccc").await;
    let done = eventually("the canary took over", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        let over = app["status"]["rollout"]["state"] == "Completed";
        if over && stable(&app) != stable(&first) {
            Ok(app)
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
    load.abort();
    // The last change may be under way.
    drop(load.await);
    objects.delete("dbm", "schema").await;
    fleet::settles(&world, &objects, PATIENCE).await;
    let peak = sampler.finish().await;

    assert_eq!(
        pods(&objects, "still-").await,
        unmoved,
        "no pod restarts for an upgrade"
    );
    let kept = pods(&objects, &format!("orders-{}", stable(&done))).await;
    let own: BTreeSet<_> = canary.intersection(&kept).collect();
    assert_eq!(own.len(), 1, "the canary's pod stays: {canary:?} {kept:?}");
    let dead = bus.last_sequence(Stream::Dead).await;
    assert_eq!(dead, 0, "each build could read the other's messages");
    assert!(peak.stream <= 50, "{peak:?}");
    let refused: Vec<_> = world
        .audit()
        .writes_since(mark)
        .into_iter()
        .filter(|write| write.code >= 400 && ![404, 409].contains(&write.code))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    let schemas = |log: &PartProcess| log.log().contains("is unknown to a reader");
    assert!(!schemas(&watcher) && !schemas(&planner) && !schemas(&executor));

    let (code, text) = world.program_with("signalbox", &["replay"], &newer()).await;
    let counts = summary(&text);
    println!("replay: {counts:?}");
    let changed: Vec<&str> = text.lines().filter(|line| line.starts_with(' ')).collect();
    let of_the_rule = |line: &&str| line.contains("/effect/lockSeconds: ");
    assert!(
        !changed.is_empty() && changed.iter().all(of_the_rule),
        "{text}"
    );
    assert_eq!((code, counts["missing"]), (Some(1), 0), "{text}");
    figure(
        "upgrade-changes",
        changes.load(Ordering::Relaxed),
        "changes",
    );
    figure("upgrade-replay-same", counts["same"], "plans");
    figure("upgrade-replay-differs", counts["differs"], "plans");
    figure("upgrade-dead-messages", dead, "messages");
    let generation = |app: &Value| fleet::is_current(app);
    assert!(objects.list("papp").await.iter().all(generation));
}
