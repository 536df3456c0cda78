//! Storms: 10,000 updates over many, few and one app; never more than 50 in a work stream, never more than 50 flights.
//!
//! etcd, API server and NATS only: what is measured is the loop, not pods.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually, fleet};

/// Of two active watchers, each waits seconds for every flight whose Outcome the other one took.
const PATIENCE: Duration = Duration::from_mins(5);
/// A change is held for a minute at most: a storm that takes longer, on a slow machine, writes each object once more.
const HELD: Duration = Duration::from_mins(1);
/// Writes of the operator in a storm that takes no longer than that.
const MOST_WRITES: u32 = 3_000;

/// 10,000 updates round the apps, as fast as the API server takes them.
async fn storm(objects: &Objects, apps: usize, updates: usize) -> Duration {
    let started = Instant::now();
    futures::stream::iter(0..updates)
        .for_each_concurrent(apps.min(16), |number| async move {
            // No two are the same, and each app is changed in turn.
            fleet::update(objects, number % apps, &number.to_string()).await;
        })
        .await;
    started.elapsed()
}

/// One storm at a time: two on the same cores would measure each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn run(apps: usize, updates: usize, watchers: &[&[&str]]) {
    let _alone = ALONE.lock().await;
    let world = World::start(&format!("storm-{apps}"), WorldOptions::BARE).await;
    let watchers: Vec<_> = watchers
        .iter()
        .map(|arguments| world.part_with(Part::Watcher, arguments, Vec::new()))
        .collect();
    let _planner = world.part(Part::Planner);
    let _executor = world.part(Part::Executor);
    let objects = world.namespace(&[]).await;
    let begun = Instant::now();
    fleet::create(&world, &objects, apps).await;
    fleet::settles(&world, &objects, PATIENCE).await;
    // Of two watchers, each has what the other sent still to look at.
    eventually("no watcher has anything to send", PATIENCE, || async {
        for watcher in &watchers {
            match watcher.metric("signalbox_watcher_dirty").await {
                Some(0.0) => {}
                other => return Err(format!("{other:?} dirty")),
            }
        }
        Ok(())
    })
    .await;
    println!("{apps} apps are there after {:.1?}", begun.elapsed());

    let audit = world.audit();
    let mark = audit.mark();
    let sampler = world.bus().await.sample();
    let took = storm(&objects, apps, updates).await;
    let quiet = Instant::now();
    fleet::settles(&world, &objects, PATIENCE).await;
    let after = quiet.elapsed();
    let peak = sampler.finish().await;
    let writes = audit.writes_since(mark);
    let done = writes.iter().filter(|w| w.code < 300).count();
    println!(
        "storm over {apps} apps: {updates} updates in {took:.1?}, settled {after:.1?} later, {done} writes ({} refused), peak {peak:?}",
        writes.len() - done
    );
    assert!(peak.samples > 50, "sampled throughout: {peak:?}");
    assert!(peak.stream <= 50 && peak.flights <= 50, "{peak:?}");
    let mut kinds = BTreeMap::new();
    for write in &writes {
        let kind = (&*write.verb, &*write.resource, write.code);
        *kinds.entry(kind).or_insert(0) += 1;
    }
    let minutes = took.max(HELD).div_duration_f64(HELD);
    assert!(
        f64::from(u32::try_from(done).unwrap()) <= f64::from(MOST_WRITES) * minutes,
        "{done} writes in {minutes:.1} minutes: {kinds:?}"
    );

    // What was recorded is planned again, with the same result.
    let (code, text) = world.signalbox(&["replay"]).await;
    let told = text.lines().last().unwrap_or_default();
    println!("replay: {told}");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("0 differs, 0 missing"), "{told}");

    // The newest configuration is what stands there.
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
async fn over_500_apps() {
    run(500, 10_000, &[&[]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_20_apps() {
    run(20, 10_000, &[&[]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_one_app() {
    run(1, 10_000, &[&[]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_watchers_active() {
    run(500, 10_000, &[&["--force-active"], &["--force-active"]]).await;
}
