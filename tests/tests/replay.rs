//! Replay after a storm, a rollout and migrations: the same build plans every recorded Event again as it did, and a
//! build with one changed rule differs for exactly the plans that the rule touches.

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
use std::time::Duration;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures::StreamExt as _;
use serde_json::{Value, json};
use signalbox_common::bus::rights::Role;
use signalbox_common::subject::{Stream, parse_ledger};
use signalbox_common::wire::planned::PLANNED;
use signalbox_tests::fixtures::{app, database_secret, migration};
use signalbox_tests::objects::ready;
use signalbox_tests::{Objects, World, WorldOptions, eventually, fleet};

const PATIENCE: Duration = Duration::from_mins(3);
const APPS: usize = 60;
const UPDATES: usize = 20;

const FILES: &str = "  - name: V1__accounts.sql
    sql: CREATE TABLE accounts (id int PRIMARY KEY, name text)
  - name: V2__email.sql
    sql: ALTER TABLE accounts ADD COLUMN email text
  - name: V3__drop_name.sql
    phase: Contract
    sql: ALTER TABLE accounts DROP COLUMN name";

/// 60 apps, each changed 20 times, as fast as the API server takes it.
async fn storm(world: &World, objects: &Objects) {
    fleet::create(world, objects, APPS).await;
    futures::stream::iter(0..APPS * UPDATES)
        .for_each_concurrent(16, |number| async move {
            fleet::update(objects, number % APPS, &(number / APPS).to_string()).await;
        })
        .await;
}

/// A migrated app goes through a canary to its next image.
async fn rollout(world: &World) {
    let objects = world.namespace(&["ledger-db"]).await;
    let url = world.cluster.create_database("replayed").await.unwrap();
    let space = &objects.namespace;
    world.apply(&database_secret(space, &url)).await;
    world
        .apply(&migration(space, "schema", Some("orders"), FILES))
        .await;
    let lines = "  replicas: 2\n  migrations: { name: schema }\n  rollout: { steps: [{ weight: 50 }], drainSeconds: 0 }";
    world
        .apply(&app(space, "orders", "example/orders:1", lines))
        .await;
    objects.becomes_ready("orders").await;
    let next = json!({"spec": {"image": "example/orders:2"}});
    objects.patch("papp", "orders", next).await;
    objects.becomes_ready("orders").await;
    objects.is_ready("dbm", "schema").await;
}

async fn settled(world: &World, objects: &Objects) {
    let bus = world.bus().await;
    eventually(
        "every app is Ready, no flight is open",
        PATIENCE,
        || async {
            let apps = objects.list("papp").await;
            let open = bus.open().await;
            let behind: Vec<String> = apps.iter().filter_map(|app| ready(app).err()).collect();
            match (behind.first(), open) {
                (None, 0) => Ok(()),
                (first, open) => Err(format!("{} behind, {open} open: {first:?}", behind.len())),
            }
        },
    )
    .await;
}

/// What the ledger has, by type and then by flight, the first entry of each; read past the command line.
async fn recorded(world: &World) -> BTreeMap<String, BTreeMap<String, Value>> {
    let args = world.common_args("reader");
    let seed = std::fs::read_to_string(world.seed("reader")).unwrap();
    let client = async_nats::ConnectOptions::new()
        .custom_inbox_prefix(Role::Reader.inbox())
        .nkey(seed.trim().to_owned())
        .connect(&args.nats_url)
        .await
        .unwrap();
    let ledger: async_nats::jetstream::stream::Stream = async_nats::jetstream::new(client)
        .get_stream(Stream::Ledger.name())
        .await
        .unwrap();
    let config = OrderedConfig {
        filter_subject: "sb.ledger.suite.>".to_owned(),
        ..OrderedConfig::default()
    };
    let mut messages = ledger
        .create_consumer(config)
        .await
        .unwrap()
        .messages()
        .await
        .unwrap();
    let mut found: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    loop {
        let message = messages.next().await.unwrap().unwrap();
        let (_, entry, _) = parse_ledger(message.subject.as_str()).unwrap();
        let headers = message.headers.as_ref().unwrap();
        let id = headers.get("sb-reconcile-id").unwrap().to_string();
        let body: Value = serde_json::from_slice(&message.payload).unwrap();
        let apart = match entry.as_str() {
            PLANNED => ["event", "plan"]
                .map(|word| (word, body[word].clone()))
                .into(),
            word => vec![(word, body)],
        };
        for (word, body) in apart {
            let entries = found.entry(word.to_owned()).or_default();
            entries.entry(id.clone()).or_insert(body);
        }
        if message.info().unwrap().pending == 0 {
            return found;
        }
    }
}

/// Whether the plan has an action that the changed rule touches: the claim of a file.
fn claims_a_file(plan: &Value) -> bool {
    let actions = plan.pointer("/verdict/actions").and_then(Value::as_array);
    let mut actions = actions.into_iter().flatten();
    actions.any(|planned| planned["action"]["type"] == "claimStep")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_the_same_and_a_changed_rule_differs_for_exactly_its_plans() {
    let world = World::start("replay", WorldOptions::PODS_AND_DATABASES).await;
    let mut parts = world.parts();
    let objects = world.namespace(&[]).await;
    tokio::join!(storm(&world, &objects), rollout(&world));
    settled(&world, &objects).await;
    for part in &mut parts {
        // Nothing is added to the record any more.
        part.terminate().await;
    }

    let recorded = recorded(&world).await;
    let flights = recorded["event"].len();
    let settled = recorded.get("settled").map_or(0, BTreeMap::len);
    assert!(flights > APPS, "the storm is on record: {flights} flights");
    let (code, text) = world.signalbox(&["replay"]).await;
    println!("replay of {flights} flights: {}", text.trim());
    let all_same = format!("{flights} same, 0 differs, 0 missing, {settled} skipped");
    assert_eq!((code, text.trim()), (Some(0), all_same.as_str()));

    let touched: BTreeSet<&str> = recorded["plan"]
        .iter()
        .filter(|(_, plan)| claims_a_file(plan))
        .map(|(id, _)| id.as_str())
        .collect();
    assert!(touched.len() >= 3, "three files were claimed: {touched:?}");
    let (code, text) = world.program("signalbox-replay-changed", &[]).await;
    let differing = text.lines().filter_map(|line| line.strip_prefix("differs"));
    let differing: BTreeSet<&str> = differing
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(differing, touched, "{text}");
    let changes: Vec<&str> = text.lines().filter(|line| line.starts_with(' ')).collect();
    assert_eq!(changes.len(), touched.len(), "{text}");
    assert!(
        changes
            .iter()
            .all(|change| change.contains("/effect/lockSeconds: ")),
        "{text}"
    );
    let (same, differs) = (flights - touched.len(), touched.len());
    let last = format!("{same} same, {differs} differs, 0 missing, {settled} skipped");
    assert_eq!((code, text.lines().last()), (Some(1), Some(last.as_str())));
    println!("replay by the changed build: {last}");
}
