//! Migrations on a real PostgreSQL: expand before a release, contract after it, exactly once, never under an old revision.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::time::Duration;

use serde_json::json;
use signalbox_tests::fixtures::{app, database_secret, migration};
use signalbox_tests::objects::ready;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};
use tokio_postgres::NoTls;

const SOON: Duration = Duration::from_secs(40);

const EXPAND: &str = "  - name: V1__accounts.sql
    sql: |
      CREATE TABLE accounts (id int PRIMARY KEY, name text);
      INSERT INTO accounts VALUES (1, 'first; not second');
  - name: V2__email.sql
    sql: ALTER TABLE accounts ADD COLUMN email text";
const CONTRACT: &str = "
  - name: V3__drop_name.sql
    phase: Contract
    sql: ALTER TABLE accounts DROP COLUMN name";

async fn world(name: &str) -> World {
    World::start(name, WorldOptions::PODS_AND_DATABASES).await
}

async fn tenant(world: &World, database: &str) -> (Objects, tokio_postgres::Client) {
    let objects = world.namespace(&["ledger-db"]).await;
    let url = world.cluster.create_database(database).await.unwrap();
    world
        .apply(&database_secret(&objects.namespace, &url))
        .await;
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    (objects, client)
}

async fn columns(database: &tokio_postgres::Client) -> Vec<String> {
    let rows = database
        .query("SELECT column_name::text FROM information_schema.columns WHERE table_name = 'accounts' ORDER BY 1", &[])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn applied(database: &tokio_postgres::Client) -> Vec<(String, i64)> {
    let rows = database
        .query("SELECT version, count(*) FROM signalbox.history WHERE state = 'applied' GROUP BY 1 ORDER BY 1", &[])
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn once(versions: &[&str]) -> Vec<(String, i64)> {
    versions.iter().map(|v| ((*v).to_owned(), 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn expand_runs_before_the_revision_and_contract_after_its_promotion() {
    let world = world("migrations").await;
    let _parts = world.parts();
    let (objects, database) = tenant(&world, "main").await;
    let files = format!("{EXPAND}{CONTRACT}");
    world
        .apply(&migration(
            &objects.namespace,
            "schema",
            Some("orders"),
            &files,
        ))
        .await;
    let lines = "  replicas: 2\n  migrations: { name: schema }\n  rollout: { steps: [{ weight: 50 }], drainSeconds: 0 }";
    world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    let ready_app = eventually("the app is Ready", SOON, || async {
        let object = objects.get("papp", "orders").await;
        ready(&object).map(|()| object)
    })
    .await;
    let done = objects.is_ready("dbm", "schema").await;
    assert_eq!(
        columns(&database).await,
        ["email", "id"],
        "contract ran after promotion"
    );
    assert_eq!(applied(&database).await, once(&["1", "2", "3"]));
    assert_eq!(done["status"]["version"], "3");

    // The expand files were applied before the revision's Deployment existed.
    let deployment = format!("orders-{}", ready_app["status"]["stable"].as_str().unwrap());
    let created =
        objects.get("deployment", &deployment).await["metadata"]["creationTimestamp"].clone();
    let second = done["status"]["applied"][1]["appliedAt"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        second[..19] <= created.as_str().unwrap()[..19],
        "{second} {created}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_fails_stalls_with_the_reason_and_a_fixed_one_heals() {
    let world = world("migrations-bad").await;
    let _parts = world.parts();
    let (objects, database) = tenant(&world, "bad").await;
    let bad =
        "  - name: V1__accounts.sql\n    sql: CREATE TABLE accounts (id int); SELECT nonsense";
    world
        .apply(&migration(&objects.namespace, "schema", None, bad))
        .await;
    let stalled = eventually("it is Stalled", SOON, || async {
        let object = objects.get("dbm", "schema").await;
        match signalbox_tests::objects::condition(&object, "Stalled") {
            Some("True") => Ok(object),
            _ => Err(object["status"].to_string()),
        }
    })
    .await;
    let text = stalled["status"].to_string();
    assert!(
        text.contains("V1__accounts.sql") && text.contains("nonsense"),
        "{text}"
    );
    assert!(columns(&database).await.is_empty(), "nothing of it stayed");

    let good = json!({"spec": {"files": [{"name": "V1__accounts.sql", "phase": "Expand", "sql": "CREATE TABLE accounts (id int)"}]}});
    objects.patch("dbm", "schema", good).await;
    objects.is_ready("dbm", "schema").await;
    assert_eq!(applied(&database).await, once(&["1"]));
}

/// The executor dies at each place between Lease and result; the file is applied once all the same.
#[tokio::test(flavor = "multi_thread")]
async fn exactly_once_whenever_the_executor_dies() {
    let world = world("migrations-killed").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    for (number, place) in ["lease", "claim", "commit-before", "commit-after"]
        .into_iter()
        .enumerate()
    {
        let (objects, database) = tenant(&world, &format!("killed{number}")).await;
        let mut doomed = world.part_with(
            Part::Executor,
            &[],
            vec![("SIGNALBOX_CRASH_AT", place.into())],
        );
        world
            .apply(&migration(&objects.namespace, "schema", None, EXPAND))
            .await;
        eventually(&format!("the executor dies at {place}"), SOON, || {
            let ended = doomed.has_ended();
            async move { if ended { Ok(()) } else { Err("it lives") } }
        })
        .await;
        let mut next = world.part(Part::Executor);
        objects.is_ready("dbm", "schema").await;
        assert_eq!(applied(&database).await, once(&["1", "2"]), "{place}");
        let rows: i64 = database
            .query_one("SELECT count(*) FROM accounts", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(rows, 1, "{place}");
        next.terminate().await;
    }
}

/// A regression test: renewals of a step's Lease were forbidden, so that whatever took longer was cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_runs_longer_than_its_lease_is_applied_at_the_first_attempt() {
    let world = world("slow-file").await;
    let _parts = world.parts();
    let (objects, database) = tenant(&world, "slow").await;
    let file = "  - name: V1__slow.sql
    sql: |
      CREATE TABLE accounts (id int PRIMARY KEY);
      SELECT pg_sleep(15);";
    world
        .apply(&migration(&objects.namespace, "schema", None, file))
        .await;
    objects.is_ready("dbm", "schema").await;
    assert_eq!(applied(&database).await, once(&["1"]));
    let failed = "SELECT error_message FROM signalbox.attempts";
    let failed = database.query(failed, &[]).await.unwrap();
    assert!(failed.is_empty(), "{failed:?}");
    // Each attempt takes the history over under an epoch of its own.
    let epoch: i64 = database
        .query_one("SELECT epoch FROM signalbox.lease", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(epoch, 1);
}
