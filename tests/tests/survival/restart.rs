//! A converged fleet is silent, also after a restart of every part.

use std::time::Duration;

use serde_json::json;
use signalbox_tests::objects::ready;
use signalbox_tests::silence::falls_silent;
use signalbox_tests::wait::throughout;
use signalbox_tests::{World, WorldOptions, eventually, fleet};

use crate::PATIENCE;
use crate::planned::Planned;

#[tokio::test(flavor = "multi_thread")]
async fn a_converged_fleet_is_silent_also_after_a_restart() {
    let world = World::start("silent", WorldOptions::PODS).await;
    let mut parts = world.parts();
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, 200).await;
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
    fleet::settles(&world, &objects, PATIENCE).await;
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
