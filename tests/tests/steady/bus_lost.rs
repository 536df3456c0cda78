//! A bus that loses what it had, in the middle of rollouts: its storage goes back to an older state, a stream is deleted
//! under the parts, all of it is wiped. Nothing is lost but time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};
use signalbox_common::subject::Stream;
use signalbox_devcluster::Server;
use signalbox_tests::figures::{figure, held_to, long_form};
use signalbox_tests::fleet::is_current;
use signalbox_tests::{Objects, Part, PartProcess, World, eventually};

use crate::{PATIENCE, all_serve, create, names, set, world};

/// From the bus's return until every app is at its newest generation.
const BAR: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
enum Loss {
    /// An older copy of the storage, as after a loss of power.
    RolledBack,
    /// One stream, under the running parts.
    Deleted(Stream),
    /// All of it.
    Wiped,
}

/// Changes the apps in turn, as fast as the API server takes it.
async fn updates(objects: &Objects, names: &[String], count: usize, word: &str) {
    futures::stream::iter(0..count)
        .for_each_concurrent(8, |number| async move {
            let name = &names[number % names.len()];
            let patch = json!({"spec": {"config": {"LEVEL": format!("{word}-{number}")}}});
            objects.patch("papp", name, patch).await;
        })
        .await;
}

/// Waits until canaries of some apps are under way.
async fn canaries(objects: &Objects, wanted: usize) {
    eventually("canaries are under way", PATIENCE, || async {
        let apps = objects.list("papp").await;
        let under_way = apps.iter().filter(|app| {
            let status = &app["status"];
            status["stable"].is_string() && status["stable"] != status["revision"]
        });
        match under_way.count() {
            enough if enough >= wanted => Ok(()),
            some => Err(format!("{some} of {wanted}")),
        }
    })
    .await;
}

/// Waits until the status of every app is of its newest generation.
async fn all_current(objects: &Objects) {
    eventually(
        "every app is at its newest generation",
        PATIENCE,
        || async {
            let apps = objects.list("papp").await;
            let behind: Vec<&Value> = apps.iter().filter(|app| !is_current(app)).collect();
            match behind.first() {
                None => Ok(()),
                Some(first) => Err(format!("{} behind: {first}", behind.len())),
            }
        },
    )
    .await;
}

/// Runs a program that has to succeed.
fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

/// A copy of the storage as it is at one instant: the server holds still meanwhile.
fn copy_of(world: &World, storage: &Path) -> PathBuf {
    let copy = storage.with_file_name("nats-older");
    let _ = std::fs::remove_dir_all(&copy);
    let pid = world.cluster.pid(Server::Nats).unwrap();
    signalbox_devcluster::hold_still(pid).unwrap();
    run(
        "cp",
        &["-a", storage.to_str().unwrap(), copy.to_str().unwrap()],
    );
    signalbox_devcluster::go_on(pid).unwrap();
    copy
}

/// Makes the loss; returns when the bus was there again.
async fn lose(world: &World, loss: Loss, older: &Path) -> Instant {
    let storage = world.cluster.dir().join("nats");
    match loss {
        Loss::Deleted(stream) => {
            let streams = async_nats::jetstream::new(world.bus_admin().await);
            streams.delete_stream(stream.name()).await.unwrap();
            return Instant::now();
        }
        Loss::RolledBack => {
            world.cluster.kill_server(Server::Nats).await.unwrap();
            std::fs::remove_dir_all(&storage).unwrap();
            std::fs::rename(older, &storage).unwrap();
        }
        Loss::Wiped => {
            world.cluster.kill_server(Server::Nats).await.unwrap();
            std::fs::remove_dir_all(&storage).unwrap();
            std::fs::create_dir(&storage).unwrap();
        }
    }
    world.cluster.start_server(Server::Nats).await.unwrap();
    Instant::now()
}

async fn losses(watcher: &PartProcess) -> f64 {
    let told = watcher.metric("signalbox_watcher_bus_losses_total").await;
    told.unwrap_or_default()
}

/// 300 updates over 60 apps for each loss by `make steady-faults`, else 100 over 20.
#[tokio::test(flavor = "multi_thread")]
async fn the_bus_loses_what_it_had_in_the_middle_of_rollouts() {
    let (apps, count) = if long_form() { (60, 300) } else { (20, 100) };
    let world = world("steady-lost").await;
    let _keeper = world.keep_bus();
    let watcher = world.part(Part::Watcher);
    let _others = [world.part(Part::Planner), world.part(Part::Executor)];
    let objects = world.namespace(&[]).await;
    let names = names(apps);
    create(&world, &objects, &names).await;
    all_serve(&world, &objects).await;
    let mut worst = Duration::ZERO;
    for (round, loss) in [Loss::RolledBack, Loss::Deleted(Stream::Plans), Loss::Wiped]
        .into_iter()
        .enumerate()
    {
        let known = losses(&watcher).await;
        set(&objects, &names, &format!("example/orders:{}", round + 2)).await;
        canaries(&objects, apps / 4).await;
        let older = copy_of(&world, &world.cluster.dir().join("nats"));
        // The bus dies under the last of them.
        updates(&objects, &names, count, &format!("round-{round}")).await;
        let back = lose(&world, loss, &older).await;
        all_current(&objects).await;
        let current = back.elapsed();
        println!("{loss:?}: every app at its newest generation after {current:?}");
        worst = worst.max(current);
        eventually("the loss is told", PATIENCE, || async {
            match losses(&watcher).await {
                now if now > known => Ok(()),
                now => Err(format!("{now} losses, as before; {}", watcher.log())),
            }
        })
        .await;
        all_serve(&world, &objects).await;
        println!(
            "{loss:?}: all serve, nothing open after {:?}",
            back.elapsed()
        );
        for app in objects.list("papp").await {
            let (name, revision) = (&app["metadata"]["name"], &app["status"]["stable"]);
            let of = format!("{}-{}", name.as_str().unwrap(), revision.as_str().unwrap());
            let config = objects.get("configmap", &of).await;
            assert_eq!(config["data"], app["spec"]["config"], "{name}");
        }
    }
    figure("bus-loss-settled", worst.as_secs_f64(), "s");
    assert!(worst <= held_to(BAR), "{worst:?}");
}
