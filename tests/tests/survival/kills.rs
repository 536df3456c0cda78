//! Each kind of part is killed in the middle of a storm: nothing is lost, nothing happens twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::StreamExt as _;
use signalbox_tests::bus::BusView;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually, fleet};

use crate::PATIENCE;

/// One update of each app at a time, over and over until `over`; `sent` counts what the server took.
async fn storm(objects: &Objects, apps: usize, sent: &AtomicUsize, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        futures::stream::iter(0..apps)
            .for_each_concurrent(8, |number| async move {
                let word = format!("{number}-{}", sent.load(Ordering::Relaxed));
                fleet::update(objects, number, &word).await;
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
    let world = World::start("kills", WorldOptions::BARE).await;
    let mut watchers = vec![world.part(Part::Watcher), world.part(Part::Watcher)];
    let mut planners = vec![world.part(Part::Planner), world.part(Part::Planner)];
    let mut executors: Vec<_> = (0..3).map(|_| world.part(Part::Executor)).collect();
    let objects = world.namespace(&[]).await;
    let system = world.objects("signalbox-system").await;
    fleet::create(&world, &objects, 60).await;
    fleet::settles(&world, &objects, PATIENCE).await;
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
    fleet::settles(&world, &objects, PATIENCE).await;
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
