//! A database that accepts connections and says nothing, from the start or in the middle of a file: what that costs
//! its own migration and everybody else, and how it ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use signalbox_tests::figures::figure;
use signalbox_tests::fixtures::{app, database_secret, migration};
use signalbox_tests::{Objects, World, WorldOptions, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_postgres::NoTls;

use crate::PATIENCE;

/// A door before the database: open, it passes everything on; shut, it takes connections and what is said, and
/// says nothing.
struct Door {
    open: watch::Sender<bool>,
    address: std::net::SocketAddr,
    /// How long whoever came while it was shut has waited for a word.
    waited: Arc<Mutex<Vec<Duration>>>,
}

impl Door {
    async fn before(server: String, open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (open, seen) = watch::channel(open);
        let waited = Arc::new(Mutex::new(Vec::new()));
        let waits = Arc::clone(&waited);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, seen, waits) = (server.clone(), seen.clone(), waits.clone());
                tokio::spawn(async move {
                    if *seen.borrow() {
                        pass(client, &server, seen).await;
                    } else {
                        let waited = hear_out(client).await;
                        waits.lock().unwrap().push(waited);
                    }
                });
            }
        });
        Self {
            open,
            address,
            waited,
        }
    }

    /// The URL of a database, leading through here.
    fn url(&self, url: &str) -> String {
        let (user, rest) = url.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{user}@{}/{database}", self.address)
    }
}

/// Reads until the client gives up.
async fn hear_out(mut client: TcpStream) -> Duration {
    let (came, mut buffer) = (Instant::now(), [0; 256]);
    while client.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    came.elapsed()
}

/// Passes on what both say while the door is open.
async fn pass(client: TcpStream, server: &str, open: watch::Receiver<bool>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, open.clone()) => {}
        () = copy(from_server, to_client, open) => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if open.wait_for(|open| *open).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}

const FILES: &str = "  - name: V1__accounts.sql
    sql: CREATE TABLE accounts (id int PRIMARY KEY)
  - name: V2__slow.sql
    sql: |
      INSERT INTO accounts VALUES (1);
      SELECT pg_sleep(3);
      INSERT INTO accounts VALUES (2);";

/// A namespace whose migration leads to the database by this URL; nothing runs yet.
async fn tenant(world: &World, url: &str) -> Objects {
    let objects = world.namespace(&["ledger-db"]).await;
    world.apply(&database_secret(&objects.namespace, url)).await;
    objects
}

async fn applied(url: &str) -> Vec<(String, i64)> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "SELECT version, count(*) FROM signalbox.history WHERE state = 'applied' GROUP BY 1 ORDER BY 1";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn both_once() -> Vec<(String, i64)> {
    vec![("1".to_owned(), 1), ("2".to_owned(), 1)]
}

/// Milliseconds in which each of several migrations of another namespace is applied.
async fn others(world: &World, round: usize) -> u128 {
    let mut slowest = 0;
    for number in 0..3 {
        let name = format!("other{round}x{number}");
        let url = world.cluster.create_database(&name).await.unwrap();
        let objects = tenant(world, &url).await;
        let file = "  - name: V1__t.sql\n    sql: CREATE TABLE t (id int)";
        let begun = Instant::now();
        world
            .apply(&migration(&objects.namespace, "schema", None, file))
            .await;
        objects.is_ready("dbm", "schema").await;
        slowest = slowest.max(begun.elapsed().as_millis());
    }
    slowest
}

/// Waits until the migration's status says that there is no answer.
async fn is_told(objects: &Objects) -> Value {
    eventually("the status names what is wrong", PATIENCE, || async {
        let live = objects.get("dbm", "schema").await;
        let message = live["status"]["lastFailure"]["message"].to_string();
        if message.contains("no answer in") {
            Ok(live)
        } else {
            Err(live["status"].to_string())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer() {
    let seconds = std::env::var("SIGNALBOX_SILENT_SECONDS").map_or(0, |text| text.parse().unwrap());
    let world = World::start("steady-silent", WorldOptions::PODS_AND_DATABASES).await;
    let _parts = world.parts();
    let alone = others(&world, 0).await;

    let server = world.cluster.postgres_url().unwrap();
    let (_, rest) = server.split_once('@').unwrap();
    let (server, _) = rest.split_once('/').unwrap_or((rest, ""));
    let door = Door::before(server.to_owned(), false).await;
    let direct = world.cluster.create_database("silent").await.unwrap();
    let objects = tenant(&world, &door.url(&direct)).await;
    let space = &objects.namespace;
    world
        .apply(&migration(space, "schema", Some("orders"), FILES))
        .await;
    let lines = "  migrations: { name: schema }\n  rollout: { drainSeconds: 0 }";
    world
        .apply(&app(space, "orders", "example/orders:1", lines))
        .await;
    is_told(&objects).await;
    let beside = others(&world, 1).await;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let app = objects.get("papp", "orders").await;
    assert_eq!(app["status"]["phase"], "Migrating", "{}", app["status"]);
    assert!(
        objects.list("pod").await.is_empty(),
        "no pod before its schema"
    );
    door.open.send_replace(true);
    objects.becomes_ready("orders").await;
    assert_eq!(applied(&direct).await, both_once());

    let waited = door.waited.lock().unwrap().clone();
    let longest = waited.iter().max().unwrap().as_secs_f64();
    figure("silent-database-connect-longest", longest, "s");
    figure("silent-database-others-without", alone, "ms");
    figure("silent-database-others-beside", beside, "ms");
    assert!((4.5..8.0).contains(&longest), "{waited:?}");
    assert!(
        beside <= 3 * alone + 2_000,
        "{alone} ms, {beside} ms beside"
    );
}

/// A regression test: a database that stopped to answer in the middle of a file held the file's place, its Lease and
/// its claim for as long as it was silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_in_the_middle_of_a_file() {
    let options = WorldOptions {
        controllers: false,
        postgres: true,
    };
    let world = World::start("steady-midfile", options).await;
    let _parts = world.parts();
    let server = world.cluster.postgres_url().unwrap();
    let (_, rest) = server.split_once('@').unwrap();
    let (server, _) = rest.split_once('/').unwrap_or((rest, ""));
    let door = Door::before(server.to_owned(), true).await;
    let direct = world.cluster.create_database("midfile").await.unwrap();
    let objects = tenant(&world, &door.url(&direct)).await;
    world
        .apply(&migration(&objects.namespace, "schema", None, FILES))
        .await;
    eventually("the second file runs", PATIENCE, || async {
        let (client, connection) = tokio_postgres::connect(&direct, NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        match client.query(sql, &[]).await.unwrap().len() {
            0 => Err("not yet"),
            _ => Ok(()),
        }
    })
    .await;
    door.open.send_replace(false);
    let shut = Instant::now();
    is_told(&objects).await;
    let noticed = shut.elapsed().as_secs_f64();
    let beside = others(&world, 2).await;
    door.open.send_replace(true);
    objects.is_ready("dbm", "schema").await;
    assert_eq!(applied(&direct).await, both_once());
    figure("silent-mid-file-noticed", noticed, "s");
    figure("silent-mid-file-others-beside", beside, "ms");
    assert!(noticed < 60.0, "{noticed}");
}
