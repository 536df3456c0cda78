//! An executor that holds still in the middle of a plan while another one goes on: what its late writes do.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use signalbox_proxy::trace::effects;
use signalbox_proxy::{Fault, Masks, Plan};
use signalbox_scoreboard::tell;
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::silence::falls_silent;
use signalbox_tests::{Objects, Part, World, eventually};

use crate::{PATIENCE, QUIET, all_serve, create, proxied, world};

const NAME: &str = "orders-0";

/// What people ask for, and what they ask for while the executor holds still.
struct Story {
    word: &'static str,
    wish: fn(usize) -> Value,
    change: fn(usize) -> Value,
}

/// Another release, or none after all: then the next plan has nothing to write where the late write goes.
const STORIES: [Story; 3] = [
    Story {
        word: "a release is overtaken",
        wish: |round| json!({"image": format!("example/orders:{}", 10 + round)}),
        change: |round| json!({"image": format!("example/orders:{}", 50 + round)}),
    },
    Story {
        word: "a release is taken back",
        wish: |round| json!({"image": format!("example/orders:{}", 90 + round)}),
        change: |_| json!({"image": "example/orders:1"}),
    },
    Story {
        word: "more pods are taken back",
        wish: |_| json!({"replicas": 5}),
        change: |_| json!({"replicas": 2}),
    },
];

/// What came of late writes.
#[derive(Default)]
struct Late {
    refused: usize,
    created: usize,
    changed: Vec<String>,
}

fn masks(objects: &Objects) -> Masks {
    Masks::none()
        .with(&objects.namespace, "$ns")
        .with(NAME, "$app")
        .with_revisions_of("$app")
}

async fn ask(objects: &Objects, spec: Value) {
    objects.patch("papp", NAME, json!({"spec": spec})).await;
}

/// An executor is stopped right before each write of a wish; people change their mind, and another executor
/// does that; then the first goes on: its write, late, is refused, or is a create, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_executor_writes_too_late() {
    let world = world("steady-stopped").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let objects = world.namespace(&[]).await;
    let mut first = proxied(&world, Part::Executor).await;
    create(&world, &objects, &[NAME.to_owned()]).await;
    all_serve(&world, &objects).await;
    let mut late = Late::default();
    for story in &STORIES {
        let writes = learn(&world, &first, &objects, story).await;
        println!("{}: {} writes", story.word, writes.len());
        for (round, step) in writes.iter().enumerate() {
            hold_and_let_go(
                &world,
                &mut first,
                &objects,
                story,
                (round, step),
                &mut late,
            )
            .await;
        }
    }
    let all = late.refused + late.created + late.changed.len();
    tell("late-writes", all, "writes");
    tell("late-writes-that-change", late.changed.len(), "writes");
    tell("late-creates", late.created, "writes");
    assert_eq!(late.changed, Vec::<String>::new());
    assert!(late.refused >= 10, "{} were refused", late.refused);
}

/// The writes of a wish that nothing disturbs, each once, by where they go.
async fn learn(
    world: &World,
    first: &ProxiedPart,
    objects: &Objects,
    story: &Story,
) -> Vec<String> {
    first.proxy.director.begin(masks(objects), Plan::default());
    ask(objects, (story.wish)(30)).await;
    all_serve(world, objects).await;
    let writes: BTreeMap<String, u32> = effects(&first.proxy.director.trace());
    ask(objects, (story.change)(30)).await;
    all_serve(world, objects).await;
    falls_silent(world, "the wish is taken back", QUIET, PATIENCE).await;
    let writes = writes.into_keys().filter(|step| step.starts_with("api "));
    writes.filter(|step| !step.contains(" events ")).collect()
}

async fn hold_and_let_go(
    world: &World,
    first: &mut ProxiedPart,
    objects: &Objects,
    story: &Story,
    (round, step): (usize, &str),
    late: &mut Late,
) {
    let what = format!("{}, {step}", story.word);
    // Revisions differ from round to round, so any will do.
    let (beginning, _) = step.split_once("$app").unwrap();
    let plan = Plan::once_any(&format!("{beginning}$app*"), Fault::Pause);
    let director = first.proxy.director.clone();
    director.begin(masks(objects), plan);
    ask(objects, (story.wish)(round)).await;
    eventually("the executor holds still", PATIENCE, || async {
        director.is_paused().then_some(()).ok_or(&what)
    })
    .await;
    let mut second = world.part(Part::Executor);
    ask(objects, (story.change)(round)).await;
    all_serve(world, objects).await;
    // Old revisions are swept behind that.
    falls_silent(world, "the other executor's work", QUIET, PATIENCE).await;
    second.terminate().await;
    let before = objects.get("papp", NAME).await;
    let mark = world.audit().mark();
    director.resume();
    let answered = eventually("the late write is answered", PATIENCE, || async {
        let answered = world.audit().writes_since(mark).into_iter().next();
        answered.ok_or(&what)
    })
    .await;
    match answered.code {
        404 | 409 | 422 => late.refused += 1,
        201 => late.created += 1,
        _ => late.changed.push(format!("{what}: {answered:?}")),
    }
    falls_silent(world, "a late write", QUIET, PATIENCE).await;
    all_serve(world, objects).await;
    let after = objects.get("papp", NAME).await;
    let kept = |app: &Value| (app["status"]["stable"].clone(), app["spec"].clone());
    assert_eq!(kept(&before), kept(&after), "{what}");
    // It lives on, and does its work again.
    assert!(!first.process().has_ended());
}
