//! A rollback racing the contract phase on real servers and a real PostgreSQL, a hundred times: the old revision
//! never has pods once the column that it needs is dropped.
//!
//! A dropped column does not come back. So a round is right if at its end the column is there, or the old
//! revision's Deployment is the very one (by generation) that stood empty before contract was allowed to run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_tests::fixtures::{app, database_secret};
use signalbox_tests::objects::ready;
use signalbox_tests::{Objects, World, WorldOptions, eventually};
use tokio_postgres::NoTls;

const PATIENCE: Duration = Duration::from_mins(3);
/// Apps side by side, and rounds of each.
const LANES: usize = 10;
const ROUNDS: usize = 10;

/// What comes first; the migration is paused until contract is asked for, so the test decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The release is withdrawn before contract may run.
    Rollback,
    /// Both at the same moment.
    Together,
    /// The rollback comes while the file is being applied.
    Midway,
    /// Contract is done before the rollback.
    Contract,
}

const ORDERS: [Order; 4] = [
    Order::Rollback,
    Order::Together,
    Order::Midway,
    Order::Contract,
];

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    WentBack,
    Refused,
}

/// One database and one namespace, used round after round.
struct Lane {
    objects: Objects,
    database: tokio_postgres::Client,
    number: usize,
}

/// One round: an app and a migration of their own, with a table and a history of their own.
struct Round<'l> {
    lane: &'l Lane,
    name: String,
    table: String,
}

impl Round<'_> {
    fn manifests(&self) -> String {
        let Self { lane, name, table } = self;
        let namespace = &lane.objects.namespace;
        let migration = format!(
            "
apiVersion: signalbox.dev/v1alpha1
kind: DatabaseMigration
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  app: {name}
  target: {{ urlFrom: {{ name: ledger-db, key: url }}, historySchema: history_{table} }}
  files:
  - name: V1__table.sql
    sql: {}
",
            self.create()
        );
        let lines = format!(
            "  migrations: {{ name: {name} }}\n  rollout: {{ steps: [{{ weight: 100 }}], drainSeconds: 0 }}"
        );
        format!(
            "{migration}---{}",
            app(namespace, name, "example/orders:1", &lines)
        )
    }

    fn create(&self) -> String {
        format!("CREATE TABLE {} (id int PRIMARY KEY, old text)", self.table)
    }

    async fn app(&self) -> Value {
        self.lane.objects.get("papp", &self.name).await
    }

    async fn migration(&self) -> Value {
        self.lane.objects.get("dbm", &self.name).await
    }

    async fn wait<F>(&self, what: &str, holds: F) -> Value
    where
        F: Fn(&Value, &Value) -> bool,
    {
        eventually(&format!("{}: {what}", self.name), PATIENCE, || async {
            let (app, migration) = (self.app().await, self.migration().await);
            if holds(&app, &migration) {
                Ok(app)
            } else {
                Err(format!("{}\n{}", app["status"], migration["status"]))
            }
        })
        .await
    }

    async fn image(&self, tag: u32) {
        let patch = json!({"spec": {"image": format!("example/orders:{tag}")}});
        self.lane.objects.patch("papp", &self.name, patch).await;
    }

    async fn hold(&self, paused: bool) {
        let patch = json!({"spec": {"paused": paused}});
        self.lane.objects.patch("dbm", &self.name, patch).await;
    }

    async fn has_column(&self) -> bool {
        let sql = "SELECT count(*) FROM information_schema.columns WHERE table_name = $1 AND column_name = 'old'";
        let row = self.lane.database.query_one(sql, &[&self.table]).await;
        row.unwrap().get::<_, i64>(0) == 1
    }

    /// The old revision serves, the new one takes over, and contract is asked for but held.
    async fn until_contract(&self, order: Order) -> (String, Value) {
        let first = self
            .wait("the first revision is Ready", |app, migration| {
                ready(app).is_ok() && ready(migration).is_ok()
            })
            .await;
        // Long enough for the rollback to meet it at work.
        let slow = if order == Order::Midway {
            "SELECT pg_sleep(0.5); "
        } else {
            ""
        };
        let files = json!([
            {"name": "V1__table.sql", "sql": self.create()},
            {"name": "V2__drop.sql", "phase": "Contract", "sql": format!("{slow}ALTER TABLE {} DROP COLUMN old", self.table)},
        ]);
        let patch = json!({"spec": {"files": files, "paused": true}});
        self.lane.objects.patch("dbm", &self.name, patch).await;
        self.image(2).await;
        let old = first["status"]["stable"].as_str().unwrap().to_owned();
        self.wait("contract is asked for", |_, migration| {
            let release = &migration["spec"]["release"];
            release["phase"] == "Contract" && release["revision"] != old.as_str()
        })
        .await;
        let deployment = self.deployment(&old).await;
        assert_eq!(
            deployment["spec"]["replicas"], 0,
            "{}: the old pods are gone",
            self.name
        );
        (old, deployment["metadata"]["generation"].clone())
    }

    async fn deployment(&self, revision: &str) -> Value {
        let name = format!("{}-{revision}", self.name);
        self.lane.objects.get("deployment", &name).await
    }

    async fn race(&self, order: Order) {
        match order {
            Order::Rollback => {
                self.image(1).await;
                self.wait("contract is withdrawn", |_, migration| {
                    migration["spec"]["release"]["phase"] == "Expand"
                })
                .await;
                self.hold(false).await;
            }
            Order::Together => {
                tokio::join!(self.image(1), self.hold(false));
            }
            Order::Midway => {
                self.hold(false).await;
                self.wait("contract is under way", |_, migration| {
                    let status = &migration["status"];
                    status["claims"]["migrate-2"].is_object() || has_contract(status)
                })
                .await;
                self.image(1).await;
            }
            Order::Contract => {
                self.hold(false).await;
                self.wait("contract is applied", |_, migration| {
                    has_contract(&migration["status"])
                })
                .await;
                self.image(1).await;
            }
        }
    }

    async fn run(&self, order: Order) -> End {
        let (old, empty) = self.until_contract(order).await;
        self.race(order).await;
        let app = self
            .wait("the round is over", |app, migration| {
                let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
                let back = ready(app).is_ok() && app["status"]["stable"] == old.as_str();
                let refused = app["status"]["phase"] == "RolledBack";
                let state = &app["status"]["rollout"]["state"];
                let over = state == "Completed" || state == "RolledBack";
                seen && over && (back || refused) && ready(migration).is_ok()
            })
            .await;
        let end = if app["status"]["stable"] == old.as_str() {
            End::WentBack
        } else {
            End::Refused
        };
        self.check(order, end, &old, &empty).await;
        end
    }

    async fn check(&self, order: Order, end: End, old: &str, empty: &Value) {
        let told = format!("{} {order:?} {end:?}", self.name);
        let deployment = self.deployment(old).await;
        let service = self.lane.objects.get("service", &self.name).await;
        let selector = service["spec"]["selector"].as_object().unwrap();
        let served = selector.contains_key(&format!("serves.signalbox.dev/{old}"));
        assert_eq!(served, end == End::WentBack, "{told}: {selector:?}");
        assert_eq!(
            self.has_column().await,
            end == End::WentBack,
            "{told}: the column"
        );
        if end == End::Refused {
            assert_eq!(
                deployment["metadata"]["generation"], *empty,
                "{told}: never raised"
            );
        }
    }
}

/// Whether the contract file is recorded as applied.
fn has_contract(status: &Value) -> bool {
    let applied = status["applied"].as_array();
    applied
        .into_iter()
        .flatten()
        .any(|file| file["phase"] == "Contract")
}

async fn lane(world: &World, number: usize) -> Lane {
    let objects = world.namespace(&["ledger-db"]).await;
    let url = world
        .cluster
        .create_database(&format!("lane{number}"))
        .await
        .unwrap();
    world
        .apply(&database_secret(&objects.namespace, &url))
        .await;
    let (database, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    Lane {
        objects,
        database,
        number,
    }
}

async fn rounds(world: &World, lane: &Lane) -> Vec<(Order, End)> {
    let (mut ends, mut kept) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        let order = ORDERS[(lane.number + number) % ORDERS.len()];
        let round = Round {
            lane,
            name: format!("orders-{number}"),
            table: format!("accounts_{number}"),
        };
        world.apply(&round.manifests()).await;
        let end = round.run(order).await;
        ends.push((order, end));
        kept.push((round, end));
    }
    for (round, end) in kept {
        let has = round.has_column().await;
        assert_eq!(
            has,
            end == End::WentBack,
            "{}: nothing came later",
            round.name
        );
    }
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_racing_contract_never_serves_without_its_column() {
    let world = World::start("races", WorldOptions::PODS_AND_DATABASES).await;
    let _parts = world.parts();
    let mut lanes = Vec::new();
    for number in 0..LANES {
        lanes.push(lane(&world, number).await);
    }
    let started = Instant::now();
    let ends = futures::future::join_all(lanes.iter().map(|lane| rounds(&world, lane))).await;
    let ends: Vec<(Order, End)> = ends.concat();
    for order in ORDERS {
        let of = |end: End| ends.iter().filter(|found| **found == (order, end)).count();
        let (back, refused) = (of(End::WentBack), of(End::Refused));
        println!("{order:?} first: {back} went back, {refused} were refused");
        match order {
            Order::Rollback => assert_eq!(refused, 0, "nothing barred the way back"),
            Order::Contract => assert_eq!(back, 0, "the way back was barred"),
            Order::Together | Order::Midway => {}
        }
    }
    println!("{} rounds in {:.1?}", ends.len(), started.elapsed());
    assert_eq!(ends.len(), LANES * ROUNDS);
}
