//! Faults that last: a storm of refusals and lost answers, an executor that holds still in the middle of a plan, an API
//! server that is away. In the end every app is at its newest generation, nothing in flight.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_devcluster::Server;
use signalbox_proxy::trace::{Entry, effects};
use signalbox_proxy::{Fault, Loss, Masks, Occurrence, Plan, Rule};
use signalbox_tests::fixtures::app;
use signalbox_tests::objects::ready;
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::silence::falls_silent;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(3);
const QUIET: Duration = Duration::from_secs(1);
const LINES: &str = "  replicas: 2\n  config: { LEVEL: info }\n  rollout: { steps: [{ weight: 50 }], drainSeconds: 0 }";

async fn world(name: &str) -> World {
    let options = WorldOptions {
        controllers: true,
        postgres: false,
    };
    World::start(name, options).await
}

async fn proxied(world: &World, part: Part) -> ProxiedPart {
    let nats = world.cluster.nats_url().unwrap();
    let mut part = ProxiedPart::new(world, part, nats, None, &[]).await;
    part.start(world);
    part
}

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("orders-{number}"))
        .collect()
}

async fn create(world: &World, objects: &Objects, names: &[String]) {
    let document = |name: &String| app(&objects.namespace, name, "example/orders:1", LINES);
    let documents: Vec<_> = names.iter().map(document).collect();
    world.apply(&documents.join("---")).await;
}

async fn set(objects: &Objects, names: &[String], image: &str) {
    for name in names {
        let patch = json!({"spec": {"image": image}});
        objects.patch("papp", name, patch).await;
    }
}

/// Waits until all apps serve their newest generation from one revision, and nothing is in flight.
async fn all_serve(world: &World, objects: &Objects) {
    let bus = world.bus().await;
    eventually("all serve the newest", PATIENCE, || async {
        for app in objects.list("papp").await {
            let status = &app["status"];
            let rolled = status["stable"] == status["revision"] && status["nextWake"].is_null();
            if ready(&app).is_err() || !rolled || status["lastFailure"].is_object() {
                return Err(format!("{}: {status}", app["metadata"]["name"]));
            }
        }
        match bus.open().await {
            0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    })
    .await;
}

/// The objects of a namespace that parts make, by kind and name.
async fn children(objects: &Objects) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in ["deployment", "service", "configmap"] {
        for object in objects.list(kind).await {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if name.starts_with("orders-") {
                all.insert(format!("{kind} {name}"));
            }
        }
    }
    all
}

fn storm() -> Plan {
    let faults = [
        Fault::Refuse {
            code: 429,
            retry_after: Some(2),
        },
        Fault::Refuse {
            code: 500,
            retry_after: None,
        },
        Fault::Refuse {
            code: 503,
            retry_after: None,
        },
        Fault::Lose(Loss::Timeout),
        Fault::Lose(Loss::Reset),
    ];
    // Each rule draws for itself; together a fifth of all requests.
    let rules = faults.into_iter().zip(11..).map(|(fault, seed)| Rule {
        step: "api *".to_owned(),
        occurrence: Occurrence::Percent { of: 4, seed },
        fault,
    });
    Plan {
        rules: rules.collect(),
    }
}

fn requests(trace: &[Entry]) -> Vec<&Entry> {
    let own = trace.iter().filter(|entry| entry.step.starts_with("api "));
    own.collect()
}

/// Requests that were made for an object before the time that a 429 named was over.
fn hasty(director: &signalbox_proxy::Director) -> Vec<String> {
    let (trace, made) = (director.trace(), director.made());
    let refused = made.iter().filter(|entry| is_throttled(entry, &storm()));
    let mut hasty = Vec::new();
    for refused in refused {
        for entry in requests(&trace) {
            let soon = entry.number > refused.number && entry.at < refused.at + 2_000;
            if soon && entry.step == refused.step {
                let waited = entry.at - refused.at;
                hasty.push(format!("{} again after {waited} ms", entry.step));
            }
        }
    }
    hasty
}

/// Whether the fault that was made at a step was the 429: the first rule that drew it.
fn is_throttled(entry: &Entry, plan: &Plan) -> bool {
    plan.first_that_fits(&entry.step, entry.occurrence, entry.number)
        .is_some_and(|fault| matches!(fault, Fault::Refuse { code: 429, .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_and_lost_answers() {
    const APPS: usize = 12;
    let world = world("steady-storm").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let executor = proxied(&world, Part::Executor).await;
    let director = &executor.proxy.director;
    let names = names(APPS);
    let mut runs = Vec::new();
    for plan in [Plan::default(), storm()] {
        let objects = world.namespace(&[]).await;
        let masks = Masks::none().with(&objects.namespace, "$ns");
        director.begin(masks, plan);
        let begun = Instant::now();
        create(&world, &objects, &names).await;
        all_serve(&world, &objects).await;
        for image in ["example/orders:2", "example/orders:3"] {
            set(&objects, &names, image).await;
            all_serve(&world, &objects).await;
        }
        let sent = requests(&director.trace()).len();
        println!(
            "{sent} requests, {} faults, {:?}",
            director.made().len(),
            begun.elapsed()
        );
        runs.push((sent, children(&objects).await));
    }
    let [(needed, calm), (sent, stormy)] = runs.as_slice() else {
        unreachable!("two runs");
    };
    assert_eq!(calm, stormy, "the same objects");
    assert!(director.made().len() * 8 > *sent, "the storm was one");
    let hasty = hasty(director);
    assert!(hasty.is_empty(), "{hasty:?}");
    #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
    let ratio = *sent as f64 / *needed as f64;
    println!("{ratio:.2} requests per needed request");
    assert!(ratio <= 2.0, "{ratio}");
}

/// A write's answer is lost, and the reading that follows is told to wait: nobody else asks for the object meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_a_reading_was_told_holds_for_the_object() {
    let world = world("steady-wait").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let executor = proxied(&world, Part::Executor).await;
    let objects = world.namespace(&[]).await;
    let names = names(1);
    create(&world, &objects, &names).await;
    all_serve(&world, &objects).await;
    let rule = |step: &str, fault| Plan::once_any(step, fault).rules;
    let refused = Fault::Refuse {
        code: 429,
        retry_after: Some(2),
    };
    let plan = Plan {
        rules: [
            rule("api update deployments/scale *", Fault::Lose(Loss::Timeout)),
            rule("api get deployments *", refused),
        ]
        .concat(),
    };
    let director = &executor.proxy.director;
    director.begin(Masks::none(), plan);
    set(&objects, &names, "example/orders:2").await;
    all_serve(&world, &objects).await;
    let made = director.made();
    assert_eq!(made.len(), 2, "both happened: {made:?}");
    let (refused, trace) = (&made[1], director.trace());
    let (_, name) = refused.step.rsplit_once('/').unwrap();
    let early: Vec<_> = requests(&trace)
        .into_iter()
        .filter(|entry| entry.number > refused.number && entry.at < refused.at + 2_000)
        .filter(|entry| entry.step.ends_with(&format!("/{name}")))
        .collect();
    assert!(early.is_empty(), "{early:?}");
}

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

/// Three minutes by `make steady-faults`, else twenty seconds.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_away() {
    let seconds = std::env::var("SIGNALBOX_AWAY_SECONDS").map_or(20, |text| text.parse().unwrap());
    let away = Duration::from_secs(seconds);
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
        assert!(sent as u64 <= 100 + 8 * seconds, "{sent} requests");
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
