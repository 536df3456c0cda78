//! An executor that holds still in the middle of a plan while another one goes on: what its late writes do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use signalbox_proxy::trace::effects;
use signalbox_proxy::{Fault, Masks, Plan};
use signalbox_tests::silence::falls_silent;
use signalbox_tests::{Part, eventually};

use crate::{PATIENCE, all_serve, create, proxied, set, world};

const QUIET: Duration = Duration::from_secs(1);

/// An executor is stopped right before each write of an update; another one takes the app further; then
/// the first goes on: its write, late, is refused, or is a harmless create, or is undone at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_executor_writes_too_late() {
    let world = world("steady-stopped").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let objects = world.namespace(&[]).await;
    let name = "orders-0".to_owned();
    let masks = || {
        Masks::none()
            .with(&objects.namespace, "$ns")
            .with("orders-0", "$app")
            .with_revisions_of("$app")
    };
    let mut first = proxied(&world, Part::Executor).await;
    create(&world, &objects, std::slice::from_ref(&name)).await;
    all_serve(&world, &objects).await;
    first.proxy.director.begin(masks(), Plan::default());
    set(&objects, std::slice::from_ref(&name), "example/orders:2").await;
    all_serve(&world, &objects).await;
    let writes: BTreeMap<String, u32> = effects(&first.proxy.director.trace())
        .into_iter()
        .filter(|(step, _)| step.starts_with("api ") && !step.contains(" events "))
        .collect();
    assert!(writes.len() >= 5, "{writes:?}");
    let (mut refused, mut created, mut undone) = (0, 0, Vec::new());
    for (number, step) in writes.keys().enumerate() {
        // Revisions differ from round to round, so any will do.
        let (beginning, _) = step.split_once("$app").unwrap();
        let plan = Plan::once_any(&format!("{beginning}$app*"), Fault::Pause);
        let director = first.proxy.director.clone();
        director.begin(masks(), plan);
        set(
            &objects,
            std::slice::from_ref(&name),
            &format!("example/orders:{}", 10 + number),
        )
        .await;
        eventually("the executor holds still", PATIENCE, || async {
            if director.is_paused() {
                Ok(())
            } else {
                Err(step.clone())
            }
        })
        .await;
        let mut second = world.part(Part::Executor);
        set(
            &objects,
            std::slice::from_ref(&name),
            &format!("example/orders:{}", 50 + number),
        )
        .await;
        all_serve(&world, &objects).await;
        // Old revisions are swept behind that.
        falls_silent(&world, "the other executor's work", QUIET, PATIENCE).await;
        second.terminate().await;
        let before = objects.get("papp", &name).await;
        let mark = world.audit().mark();
        let begun = Instant::now();
        director.resume();
        let late = eventually("the late write is answered", PATIENCE, || async {
            let answered = world.audit().writes_since(mark).into_iter().next();
            answered.ok_or_else(|| step.clone())
        })
        .await;
        match late.code {
            404 | 409 | 422 => refused += 1,
            201 => created += 1,
            // Nobody touched its Deployment since, so nothing there fences it. It takes no traffic, and goes.
            200 if late.resource == "deployments/scale" => {
                eventually("its pods go", PATIENCE, || async {
                    let deployment = objects.find("deployment", &late.name).await;
                    match deployment.map(|found| found["spec"]["replicas"].clone()) {
                        None => Ok(()),
                        Some(none) if none == 0 => Ok(()),
                        Some(some) => Err(some),
                    }
                })
                .await;
                undone.push(begun.elapsed());
            }
            _ => panic!("{step}: {late:?} changed what is there"),
        }
        falls_silent(&world, "a late write", QUIET, PATIENCE).await;
        all_serve(&world, &objects).await;
        let after = objects.get("papp", &name).await;
        let kept = |app: &Value| (app["status"]["stable"].clone(), app["spec"].clone());
        assert_eq!(kept(&before), kept(&after), "{step}");
        // It lives on, and does its work again.
        assert!(!first.process().has_ended());
    }
    let all = writes.len();
    println!(
        "{all} late writes: {refused} refused, {created} creates, scaled and undone: {undone:?}"
    );
    assert!(undone.iter().all(|time| *time < Duration::from_secs(5)));
    assert_eq!(refused + created + undone.len(), all);
}
