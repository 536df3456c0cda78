//! History that is gone when a watch comes back: the watcher is cut off while apps and children are deleted and changed,
//! etcd is compacted and the API server starts anew. All is seen, orphans there are none.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;
use signalbox_devcluster::Server;
use signalbox_proxy::{Direction, Masks, Plan, Protocol};
use signalbox_tests::figures::figure;
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Objects, Part, eventually};

use crate::{PATIENCE, all_serve, create, names, set, world};

const APPS: usize = 60;
const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToPart];

/// Objects of a namespace that belong to an app that is not there, and apps that should not be.
async fn left(objects: &Objects, wanted: &BTreeSet<&str>) -> Vec<String> {
    let mut left = Vec::new();
    let named = |object: &Value, path: &str| object.pointer(path)?.as_str().map(str::to_owned);
    for app in objects.list("papp").await {
        let name = named(&app, "/metadata/name").unwrap();
        if !wanted.contains(name.as_str()) {
            left.push(format!("papp {name}"));
        }
    }
    for kind in ["deployment", "service", "configmap", "replicaset", "pod"] {
        for object in objects.list(kind).await {
            let owner = named(&object, "/metadata/labels/signalbox.dev~1owner");
            if owner.is_some_and(|owner| !wanted.contains(owner.as_str())) {
                left.push(format!("{kind} {}", object["metadata"]["name"]));
            }
        }
    }
    left
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_behind_a_compaction_are_all_seen() {
    let world = world("steady-gone").await;
    let nats = world.cluster.nats_url().unwrap();
    // It leads without a Lease: a takeover would look at everything anyway.
    let mut watcher =
        ProxiedPart::new(&world, Part::Watcher, nats, None, &["--force-active"]).await;
    watcher.start(&world);
    let _others = [world.part(Part::Planner), world.part(Part::Executor)];
    let objects = world.namespace(&[]).await;
    let names = names(APPS);
    create(&world, &objects, &names).await;
    all_serve(&world, &objects).await;

    watcher.proxy.director.begin(Masks::none(), Plan::default());
    for direction in BOTH {
        watcher.proxy.part_from(Protocol::Api, direction);
    }
    let (vanished, rest) = names.split_at(30);
    let (robbed, rest) = rest.split_at(15);
    // They are gone at once, and no watch will ever tell.
    for name in vanished {
        objects.delete("papp", name).await;
    }
    // One of them is there again, as another object of the same name.
    create(&world, &objects, &vanished[..1]).await;
    for name in robbed {
        objects.delete("service", name).await;
        let stable = objects.get("papp", name).await["status"]["stable"].clone();
        let of = format!("{name}-{}", stable.as_str().unwrap());
        objects.delete("configmap", &of).await;
    }
    set(&objects, rest, "example/orders:2").await;
    world.cluster.compact_etcd().await.unwrap();
    world.cluster.kill_server(Server::ApiServer).await.unwrap();
    world.cluster.start_server(Server::ApiServer).await.unwrap();
    let objects = world.objects(&objects.namespace).await;

    for direction in BOTH {
        watcher.proxy.heal(Protocol::Api, direction);
    }
    let back = Instant::now();
    let wanted: BTreeSet<&str> = rest
        .iter()
        .chain(robbed)
        .chain(&vanished[..1])
        .map(String::as_str)
        .collect();
    eventually(
        "what is deleted is gone with all it owned",
        PATIENCE,
        || async {
            let left = left(&objects, &wanted).await;
            let apps = objects.list("papp").await.len();
            match left.first() {
                None if apps == wanted.len() => Ok(()),
                first => Err(format!("{apps} apps, {} left: {first:?}", left.len())),
            }
        },
    )
    .await;
    figure("gone-deletions-seen", back.elapsed().as_secs_f64(), "s");
    for name in robbed {
        eventually("what was deleted of others is back", PATIENCE, || async {
            let service = objects.find("service", name).await;
            service.map(drop).ok_or(name)
        })
        .await;
    }
    all_serve(&world, &objects).await;
    figure("gone-settled", back.elapsed().as_secs_f64(), "s");
    let trace = watcher.proxy.director.trace();
    let expired = trace
        .iter()
        .filter(|e| e.step.starts_with("api event ERROR"));
    println!("{} watches were too old", expired.clone().count());
    assert!(expired.count() >= 4, "the history was gone");
    assert!(!watcher.process().has_ended());
}
