//! A bus that is away for minutes while a thousand changes come: what the parts keep in memory, how often they knock,
//! and how long the work takes that has waited.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use signalbox_devcluster::Server;
use signalbox_tests::figures::{figure, held_to};
use signalbox_tests::{Objects, Part, PartProcess, World, WorldOptions, eventually, fleet};
use tokio::net::TcpListener;

use crate::{PATIENCE, seconds_of};

const APPS: usize = 100;
const UPDATES: usize = 1_000;
/// From the bus's return until all that has waited is done.
const BAR: Duration = Duration::from_secs(30);

async fn updates(objects: &Objects, word: &str) {
    futures::stream::iter(0..UPDATES)
        .for_each_concurrent(8, |number| async move {
            fleet::update(objects, number % APPS, &format!("{word}-{number}")).await;
        })
        .await;
}

/// Answers nobody at the bus's own address, and counts who knocks.
async fn knocks(world: &World) -> (Arc<AtomicUsize>, tokio::task::JoinHandle<()>) {
    let url = world.cluster.nats_url().unwrap();
    let listener = TcpListener::bind(url.replace("nats://", "")).await.unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let task = tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (count, task)
}

/// Memory and lines of the log.
fn state(part: &PartProcess) -> (u64, usize) {
    (part.resident_kib(), part.log().lines().count())
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn share(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

/// Ten minutes by `make steady-faults`, else twenty-five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_bus_is_away_while_a_thousand_changes_come() {
    let away = seconds_of("SIGNALBOX_BUS_AWAY_SECONDS", 25);
    let world = World::start("steady-bus-away", WorldOptions::BARE).await;
    let _keeper = world.keep_bus();
    let parts = [Part::Watcher, Part::Planner, Part::Executor].map(|part| world.part(part));
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, APPS).await;
    fleet::settles(&world, &objects, PATIENCE).await;
    // What a storm of this size costs in memory is paid before.
    for word in ["first", "second"] {
        updates(&objects, word).await;
        fleet::settles(&world, &objects, PATIENCE).await;
    }
    let before: Vec<_> = parts.iter().map(state).collect();

    world.cluster.kill_server(Server::Nats).await.unwrap();
    let gone = Instant::now();
    let (knocked, listening) = knocks(&world).await;
    updates(&objects, "meanwhile").await;
    tokio::time::sleep(away.saturating_sub(gone.elapsed())).await;
    let during: Vec<_> = parts.iter().map(state).collect();
    let lasted = gone.elapsed().as_secs_f64();
    listening.abort();
    // Its port is free once it has ended.
    let _ = listening.await;
    world.cluster.start_server(Server::Nats).await.unwrap();
    let back = Instant::now();
    let bus = world.bus().await;
    eventually("the streams are there", PATIENCE, || bus.is_there()).await;
    let sampler = bus.sample();
    fleet::settles(&world, &objects, PATIENCE).await;
    let drained = back.elapsed();
    let peak = sampler.finish().await;

    let mut grown: f64 = 1.0;
    for ((part, before), during) in parts.iter().zip(&before).zip(&during) {
        let after = state(part);
        let most = share(during.0.max(after.0), before.0);
        let lines = during.1 - before.1;
        let name = part.part.name();
        println!(
            "{name}: {} KiB before, {} during, {} after; {lines} lines logged in {lasted:.0} s",
            before.0, during.0, after.0
        );
        figure(
            &format!("bus-away-memory-{name}"),
            most * 100.0 - 100.0,
            "%",
        );
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let rate = lines as f64 / lasted;
        assert!(rate <= 20.0, "{name} logs {rate:.1} lines a second");
        grown = grown.max(most);
    }
    // The keeper of the streams knocks as they do.
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rate = knocked.load(Ordering::Relaxed) as f64 / lasted / (parts.len() + 1) as f64;
    figure("bus-away-connects-of-a-part", rate, "1/s");
    figure("bus-away-drained", drained.as_secs_f64(), "s");
    assert!(peak.stream <= 50 && peak.flights <= 50, "{peak:?}");
    assert!(rate > 0.0, "they do knock");
    assert!(rate <= 1.5, "{rate} connections a second");
    assert!(drained <= held_to(BAR), "{drained:?}");
    assert!(grown <= 1.2, "{grown}");
}
