//! An API server that is away for minutes: what the parts ask for meanwhile, and when they write again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use signalbox_devcluster::Server;
use signalbox_proxy::{Masks, Plan};
use signalbox_tests::{Part, eventually};

use crate::{PATIENCE, all_serve, create, names, proxied, requests, seconds_of, set, world};

/// Three minutes by `make steady-faults`, else twenty seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_away() {
    let away = seconds_of("SIGNALBOX_AWAY_SECONDS", 20);
    let world = world("steady-away").await;
    let watcher = proxied(&world, Part::Watcher).await;
    let _planner = world.part(Part::Planner);
    let executor = proxied(&world, Part::Executor).await;
    let objects = world.namespace(&[]).await;
    let names = names(20);
    create(&world, &objects, &names).await;
    all_serve(&world, &objects).await;
    // In the middle of a rollout of all.
    set(&objects, &names, "example/orders:2").await;
    for part in [&watcher, &executor] {
        part.proxy.director.begin(Masks::none(), Plan::default());
    }
    world.cluster.kill_server(Server::ApiServer).await.unwrap();
    tokio::time::sleep(away).await;
    for part in [&watcher, &executor] {
        let trace = part.proxy.director.trace();
        let sent = requests(&trace).len();
        println!(
            "{}: {sent} requests in {away:?} without a server",
            part.part.name()
        );
        // A dozen watches and the Lease, each at its longest backoff; nothing spins.
        assert!(sent as u64 <= 100 + 8 * away.as_secs(), "{sent} requests");
    }
    world.cluster.start_server(Server::ApiServer).await.unwrap();
    let back = Instant::now();
    let mark = world.audit().mark();
    let first = eventually("a part writes again", PATIENCE, || async {
        let written = world.audit().writes_since(mark);
        if written.iter().any(|w| w.code < 300) {
            Ok(back.elapsed())
        } else {
            Err("nothing written")
        }
    })
    .await;
    println!("the first write {first:?} after it is back");
    // Clients of before the outage may hold dead connections.
    let objects = world.objects(&objects.namespace).await;
    all_serve(&world, &objects).await;
    // How long that takes is for the most part the other controllers' affair.
    println!("all serve {:?} after it is back", back.elapsed());
    assert!(first < Duration::from_secs(10), "{first:?}");
    let images: BTreeSet<String> = objects
        .list("papp")
        .await
        .iter()
        .map(|app| app["spec"]["image"].to_string())
        .collect();
    assert_eq!(images, BTreeSet::from(["\"example/orders:2\"".to_owned()]));
}
