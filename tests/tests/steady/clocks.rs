//! A wall clock that is set while a part runs: back an hour, on an hour, ten minutes either way, and right again, in the
//! middle of a long file, of pauses, of a drain. Nothing ends early by it, nothing lasts longer.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_devcluster::{faketime, to_stderr};
use signalbox_tests::figures::figure;
use signalbox_tests::fixtures::{app, database_secret, migration};
use signalbox_tests::objects::stable;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};
use tokio_postgres::NoTls;

use crate::{PATIENCE, all_serve};

const HOUR: i64 = 3_600;
const TEN_MINUTES: i64 = 600;
/// Pauses and drain of a rollout, in seconds.
const PAUSES: u64 = 3 + 3 + 2;
const LINES: &str = "  replicas: 2
  migrations: { name: schema }
  rollout:
    steps: [{ weight: 50, pauseSeconds: 3 }, { weight: 75, pauseSeconds: 3 }]
    drainSeconds: 2
    progressDeadlineSeconds: 60";
const FILE: &str = "  - name: V1__accounts.sql\n    sql: CREATE TABLE accounts (id int)";

/// The wall clock of one part.
struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    async fn new(world: &World) -> Self {
        let clock = Self {
            library: faketime(&to_stderr()).await.unwrap(),
            file: world.cluster.dir().join("clock"),
        };
        clock.set(0);
        clock
    }

    /// So many seconds away from the machine's.
    fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// Waits until the app's rollout is so.
async fn rollout(objects: &Objects, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(what, PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        let rollout = &app["status"]["rollout"];
        assert_ne!(rollout["state"], "RolledBack", "{}", app["status"]);
        assert_ne!(rollout["state"], "RollingBack", "{}", app["status"]);
        if is(rollout) {
            Ok(app)
        } else {
            Err(app["status"].to_string())
        }
    })
    .await
}

/// One release, with the clock set at each of its stages; returns the seconds from its first pod to its end.
async fn release(objects: &Objects, clock: &Clock, round: i64) -> f64 {
    let file = json!({"name": format!("V{round}__slow.sql"), "phase": "Expand",
        "sql": format!("CREATE TABLE t{round} (id int); SELECT pg_sleep(7)")});
    let mut files = objects.get("dbm", "schema").await["spec"]["files"].clone();
    files.as_array_mut().unwrap().push(file);
    let before = stable(&objects.get("papp", "orders").await);
    objects
        .patch("dbm", "schema", json!({"spec": {"files": files}}))
        .await;
    objects
        .image("orders", &format!("example/orders:{round}"))
        .await;
    eventually("the file is being applied", PATIENCE, || async {
        let status = objects.get("dbm", "schema").await["status"].clone();
        let running = status["claims"][format!("migrate-{round}")]["state"] == "Running";
        if running {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
    clock.set(HOUR);
    // Renewals of its Lease happen under this clock, and under the next.
    tokio::time::sleep(Duration::from_secs(3)).await;
    clock.set(-HOUR);
    let newer = |rollout: &Value| rollout["revision"] != before.as_str();
    rollout(objects, "the first step", |r| {
        newer(r) && r["state"] == "Progressing"
    })
    .await;
    let begun = Instant::now();
    clock.set(TEN_MINUTES);
    rollout(objects, "the second step", |r| {
        newer(r) && (r["step"] == 1 || r["state"] != "Progressing")
    })
    .await;
    clock.set(-TEN_MINUTES);
    rollout(objects, "the drain", |r| {
        newer(r) && r["promotedAt"].is_string()
    })
    .await;
    clock.set(HOUR);
    let app = rollout(objects, "the end", |r| {
        newer(r) && r["state"] == "Completed"
    })
    .await;
    let took = begun.elapsed().as_secs_f64();
    assert_ne!(stable(&app), before);
    clock.set(0);
    took
}

/// Each of the parts in turn has the wrong clock.
async fn with_the_clock_of(part: Part) {
    let world = World::start(
        &format!("steady-clock-{}", part.name()),
        WorldOptions::PODS_AND_DATABASES,
    )
    .await;
    let clock = Clock::new(&world).await;
    let parts: Vec<_> = [Part::Watcher, Part::Planner, Part::Executor]
        .into_iter()
        .map(|one| {
            let environment = if one == part {
                clock.environment()
            } else {
                Vec::new()
            };
            world.part_with(one, &[], environment)
        })
        .collect();
    let objects = world.namespace(&["ledger-db"]).await;
    let space = &objects.namespace;
    let url = world.cluster.create_database("ledger").await.unwrap();
    world.apply(&database_secret(space, &url)).await;
    world
        .apply(&migration(space, "schema", Some("orders"), FILE))
        .await;
    world
        .apply(&app(space, "orders", "example/orders:1", LINES))
        .await;
    objects.becomes_ready("orders").await;
    all_serve(&world, &objects).await;

    let took = release(&objects, &clock, 2).await;
    all_serve(&world, &objects).await;
    figure(&format!("clock-{}-release", part.name()), took, "s");
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let pauses = PAUSES as f64;
    // The first sight of a step may be late, never early; the rest is the load of the machine.
    assert!(took > pauses - 2.0, "{took} s, with pauses of {pauses} s");
    assert!(took < 120.0, "{took} s, with pauses of {pauses} s");

    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let count = async |sql: &str| client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(
        count("SELECT count(*) FROM signalbox.history WHERE state = 'applied'").await,
        2
    );
    assert_eq!(count("SELECT count(*) FROM signalbox.attempts").await, 0);
    assert_eq!(
        count("SELECT epoch FROM signalbox.lease").await,
        2,
        "each file once taken up"
    );
    for part in &parts {
        let log = part.log();
        assert!(!log.contains("panicked"), "{log}");
        let (code, text) = part.answer("/readyz").await;
        assert_eq!(code, 200, "{}: {text}", part.instance);
    }
    // Set for good, it still is no reason for anything.
    clock.set(-HOUR);
    objects.image("orders", "example/orders:2b").await;
    objects.becomes_ready("orders").await;
    all_serve(&world, &objects).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchers_clock_is_set() {
    with_the_clock_of(Part::Watcher).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planners_clock_is_set() {
    with_the_clock_of(Part::Planner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executors_clock_is_set() {
    with_the_clock_of(Part::Executor).await;
}
