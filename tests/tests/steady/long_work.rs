//! An executor is killed in the middle of a long file: how long until another one is at work on it. The file is applied
//! once.

use std::time::{Duration, Instant};

use signalbox_tests::figures::{figures, held_to};
use signalbox_tests::fixtures::{database_secret, migration};
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};
use tokio_postgres::{Client, NoTls};

use crate::{PATIENCE, rounds};

const BAR: Duration = Duration::from_secs(10);

/// A file that runs until it is told to end: by a row, seen by each of its statements anew.
fn file(round: usize) -> String {
    format!(
        "  - name: V1__long.sql
    sql: |
      DO $$ BEGIN
        WHILE NOT EXISTS (SELECT FROM public.told WHERE round = {round}) LOOP
          PERFORM pg_sleep(0.05);
        END LOOP;
      END $$;
      INSERT INTO public.done VALUES ({round});"
    )
}

async fn tenant(world: &World) -> (Objects, Client) {
    let objects = world.namespace(&["ledger-db"]).await;
    let url = world.cluster.create_database("long").await.unwrap();
    let secret = database_secret(&objects.namespace, &url);
    world.apply(&secret).await;
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let tables = "CREATE TABLE told (round int); CREATE TABLE done (round int)";
    client.batch_execute(tables).await.unwrap();
    (objects, client)
}

/// The executors whose sessions are in the middle of the file.
async fn at_work(database: &Client) -> Vec<String> {
    let rows = "SELECT application_name FROM pg_stat_activity
                WHERE query LIKE 'DO $$ BEGIN%' AND state = 'active'";
    let rows = database.query(rows, &[]).await.unwrap();
    let names = rows.iter().map(|row| row.get::<_, String>(0));
    names
        .filter_map(|name| Some(name.split('/').nth(1)?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_file_of_a_killed_executor_is_resumed() {
    let options = WorldOptions {
        controllers: false,
        postgres: true,
    };
    let world = World::start("steady-long", options).await;
    let _others = [world.part(Part::Watcher), world.part(Part::Planner)];
    let mut executors = vec![world.part(Part::Executor), world.part(Part::Executor)];
    let (objects, database) = tenant(&world).await;
    let mut times = Vec::new();
    for round in 0..rounds() {
        let name = format!("schema-{round}");
        // A history of its own each: no file waits for another one's lock.
        let document = migration(&objects.namespace, &name, None, &file(round));
        let history = format!("url }}, historySchema: history_{round} }}");
        world
            .apply(&document.replacen("url } }", &history, 1))
            .await;
        let first = eventually("the file is under way", PATIENCE, || async {
            let at_work = at_work(&database).await;
            at_work.into_iter().next().ok_or("nobody is at work")
        })
        .await;
        let place = executors.iter().position(|one| one.instance == first);
        let mut executor = executors.swap_remove(place.unwrap());
        executor.kill().await;
        let killed = Instant::now();
        eventually("another one is at work on it", PATIENCE, || async {
            let at_work = at_work(&database).await;
            let other = at_work.iter().any(|name| *name != first);
            if other {
                Ok(())
            } else {
                Err(format!("{at_work:?}"))
            }
        })
        .await;
        println!("round {round}: {:?}", killed.elapsed());
        times.push(killed.elapsed());
        let told = format!("INSERT INTO told VALUES ({round})");
        database.batch_execute(&told).await.unwrap();
        objects.is_ready("dbm", &name).await;
        executors.push(world.part(Part::Executor));
    }
    let done = "SELECT round, count(*) FROM done GROUP BY 1 ORDER BY 1";
    let done = database.query(done, &[]).await.unwrap();
    let done: Vec<(i32, i64)> = done.iter().map(|row| (row.get(0), row.get(1))).collect();
    let once: Vec<(i32, i64)> = (0..).take(rounds()).map(|round| (round, 1)).collect();
    assert_eq!(done, once);
    let p95 = figures("failover-long-work", &times);
    assert!(p95 <= held_to(BAR), "{times:?}");
}
