//! Every write, publish and acknowledgement of every flow is a crash point: whoever does it is killed before
//! it, after its effect, and after its answer. The end is the same each time, and so are the counts of
//! creations and deletions.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends a suite; the number of points is worth reading"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use signalbox_simulation::mask::{differences, masked};
use signalbox_simulation::net::Stage;
use signalbox_simulation::options::{Act, Options};
use signalbox_simulation::user::Wish;
use signalbox_simulation::{run, trace};

/// When the step of a flow begins whose points are counted; what is before it, is settled by then.
const STEP: u64 = 20_000;
/// Renewals of the watcher's Lease are all alike: those of the first seconds are enough.
const RENEWALS: Duration = Duration::from_millis(STEP + 2500);

fn app(wish: Wish) -> Act {
    Act::User("web".to_owned(), wish)
}

fn everything() -> Value {
    json!({
        "replicas": 3,
        "storage": { "size": "1Gi", "mountPath": "/data" },
        "disruptionBudget": { "maxUnavailable": "1" },
        "autoscaling": { "minReplicas": 1, "maxReplicas": 5 },
        "deletion": { "gracePeriodSeconds": 1, "storage": "Delete" },
        "rollout": {
            "drainSeconds": 2, "progressDeadlineSeconds": 10,
            "steps": [{ "weight": 30, "pauseSeconds": 1 }, { "weight": 60, "pauseSeconds": 0 }],
        },
    })
}

/// Runs a flow without faults, then once for each point and stage.
fn enumerate(name: &str, before: Vec<(u64, Act)>, step: Act) {
    let mut options = Options::quiet(7);
    options.executors = 2;
    options.timeline = before;
    options.timeline.push((STEP, step));
    options.faults_end = STEP + 1000;
    let reference = trace(&options);
    assert_eq!(
        reference.broken,
        Vec::<String>::new(),
        "{name}, without a fault"
    );
    let state = masked(&reference.state);
    let begin = Duration::from_millis(STEP);
    let cases: Vec<(u64, Stage)> = (0..)
        .zip(&reference.points)
        .filter(|(_, point)| point.at >= begin)
        .filter(|(_, point)| {
            !point.what.contains("leases/signalbox-watcher") || point.at < RENEWALS
        })
        .flat_map(|(index, _)| Stage::ALL.map(|stage| (index, stage)))
        .collect();
    assert!(cases.len() > 20, "{name} has {} cases only", cases.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((index, stage)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run(&options, Some((*index, *stage)));
                    let mut wrong = report.broken.clone();
                    wrong.extend(differences(&state, &masked(&report.state)));
                    if report.counts != reference.counts {
                        wrong.push(format!(
                            "counts {:?} instead of {:?}",
                            report.counts, reference.counts
                        ));
                    }
                    if !wrong.is_empty() {
                        let point = reference.points.get(usize::try_from(*index).unwrap());
                        failed
                            .lock()
                            .unwrap()
                            .push(format!("{stage:?} of {point:?} (#{index}): {wrong:#?}"));
                    }
                }
            });
        }
    });
    println!("{name}: {} points, {} cases", cases.len() / 3, cases.len());
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{name}: {} of {} cases:\n{}",
        failed.len(),
        cases.len(),
        failed.join("\n")
    );
}

#[test]
fn create() {
    enumerate("create", Vec::new(), app(Wish::Create(json!({}))));
}

#[test]
fn create_with_everything() {
    enumerate(
        "create with everything",
        Vec::new(),
        app(Wish::Create(everything())),
    );
}

#[test]
fn update() {
    let created = vec![(500, app(Wish::Create(json!({}))))];
    enumerate(
        "update",
        created,
        app(Wish::Change(json!({ "config": { "LEVEL": "debug" } }))),
    );
}

#[test]
fn canary() {
    let created = vec![(500, app(Wish::Create(everything())))];
    enumerate(
        "canary",
        created,
        app(Wish::Change(json!({ "image": "example.com/web:2" }))),
    );
}

#[test]
fn rollback() {
    let created = vec![(500, app(Wish::Create(everything())))];
    enumerate(
        "rollback",
        created,
        app(Wish::Change(json!({ "image": "example.com/bad:2" }))),
    );
}

#[test]
fn undo() {
    let before = vec![
        (500, app(Wish::Create(json!({})))),
        (
            20_000,
            app(Wish::Change(json!({ "image": "example.com/web:2" }))),
        ),
    ];
    enumerate(
        "undo",
        before,
        app(Wish::Change(json!({ "image": "example.com/web:1" }))),
    );
}

#[test]
fn scale() {
    let created = vec![(500, app(Wish::Create(json!({}))))];
    enumerate(
        "scale",
        created,
        app(Wish::Change(json!({ "replicas": 5 }))),
    );
}

fn files(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with_migration() -> Vec<(u64, Act)> {
    let files = files(&["V1__a.sql", "V2__b.sql", "V3__c.sql"]);
    let app_of_it = json!({ "migrations": { "name": "web-schema" } });
    vec![
        (300, app(Wish::Migrate(files))),
        (500, app(Wish::Create(app_of_it))),
    ]
}

#[test]
fn migrate_the_first_time() {
    let mut before = with_migration();
    let create = before.pop().map(|(_, act)| act);
    enumerate("migrate the first time", before, create.unwrap());
}

#[test]
fn migrate_with_a_release() {
    let mut before = with_migration();
    let files = files(&[
        "V1__a.sql",
        "V2__b.sql",
        "V3__c.sql",
        "V4__d.sql",
        "V5__contract.sql",
    ]);
    before.push((STEP - 5000, app(Wish::Migrate(files))));
    enumerate(
        "migrate with a release",
        before,
        app(Wish::Change(json!({ "image": "example.com/web:2" }))),
    );
}

#[test]
fn delete() {
    let created = vec![(500, app(Wish::Create(everything())))];
    enumerate("delete", created, app(Wish::Delete));
}
