//! The bus as `bus ensure` makes it and the ledger as the commands read it, on a real nats-server.
#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use signalbox_cli::connect::BusArgs;
use signalbox_cli::ledger::{self, Query};
use signalbox_cli::paint::Painter;
use signalbox_cli::{CliError, replay, timeline};
use signalbox_common::bus::ensure;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::{Role, new_identity, server_config};
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::Kind;
use signalbox_common::record::ledger_message;
use signalbox_common::wire::planned::{self, PLANNED};
use signalbox_common::wire::{Event, Observation};
use signalbox_devcluster::{ClusterOptions, DevCluster, NatsOptions};

struct Bus {
    cluster: DevCluster,
    seeds: Vec<(Role, PathBuf)>,
}

impl Bus {
    async fn start() -> Self {
        let made: Vec<(Role, (String, String))> = Role::OWN
            .into_iter()
            .map(|role| (role, new_identity().unwrap()))
            .collect();
        let users: Vec<(Role, String)> = made
            .iter()
            .map(|(role, (_, public))| (role.clone(), public.clone()))
            .collect();
        let options = ClusterOptions {
            nats: Some(NatsOptions {
                config: server_config(&users),
            }),
            ..ClusterOptions::bare("record")
        };
        let cluster = DevCluster::start(options).await.unwrap();
        let seeds = made
            .into_iter()
            .map(|(role, (seed, _))| {
                let path = cluster.dir().join(format!("{role}.nk"));
                std::fs::write(&path, seed).unwrap();
                (role, path)
            })
            .collect();
        Self { cluster, seeds }
    }

    fn args(&self, role: &Role) -> BusArgs {
        let (_, path) = self.seeds.iter().find(|(known, _)| known == role).unwrap();
        BusArgs {
            nats_url: self.cluster.nats_url().unwrap(),
            nkey_file: Some(path.clone()),
            cluster: "default".to_owned(),
        }
    }
}

fn observation(name: &str, id: u128) -> Observation {
    serde_json::from_value(json!({
        "reconcileId": uuid::Uuid::from_u128(id), "cluster": "default",
        "key": { "kind": "PortfolioApp", "namespace": "shop", "name": name }, "uid": "u",
        "observedAt": "2026-01-01T00:00:00Z", "cause": { "type": "gone" }, "object": null,
    }))
    .unwrap()
}

#[tokio::test]
async fn what_is_recorded_is_read_in_order_and_planned_again() {
    let bus = Bus::start().await;
    let ensuring = JetStreamBus::with_args(&bus.args(&Role::Ensure).common(), &Role::Ensure)
        .await
        .unwrap();
    let streams = ensure::EnsureArgs::default();
    assert!(
        !ensure::ensure(&ensuring, &streams)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        ensure::ensure(&ensuring, &streams).await.unwrap(),
        [],
        "a second time nothing changes"
    );
    let reader = bus.args(&Role::Reader);
    assert_eq!(ledger::read(&reader, &Query::default()).await.unwrap(), []);

    let planner = JetStreamBus::connect(&bus.args(&Role::Planner).common(), Role::Planner)
        .await
        .unwrap();
    for (name, id) in [("web.v2", 1_u128), ("api", 2)] {
        let seen = observation(name, id);
        let key = ObjectKey::new(Kind::PortfolioApp, "shop", name);
        let reconcile = ReconcileId(uuid::Uuid::from_u128(id));
        let plan = serde_json::to_vec(&signalbox_planner::plan(&seen)).unwrap();
        let event = serde_json::to_vec(&Event::new(seen)).unwrap();
        // What is too large for one entry is two; so was everything once.
        let entries = match id {
            1 => vec![("event", event), ("plan", plan)],
            _ => vec![(PLANNED, planned::join(&event, &plan).unwrap())],
        };
        for (entry, body) in entries {
            planner
                .publish(ledger_message("default", entry, &key, reconcile, body))
                .await
                .unwrap();
        }
    }

    let all = ledger::read(&reader, &Query::default()).await.unwrap();
    let order: Vec<&str> = all.iter().map(|entry| entry.entry.as_str()).collect();
    assert_eq!(order, ["event", "plan", "event", "plan"]);
    let report = replay::compare(&all);
    assert_eq!(report.summary(), "2 same, 0 differs, 0 missing, 0 skipped");

    let object = Some(ObjectKey::new(Kind::PortfolioApp, "shop", "web.v2"));
    let one = ledger::read(
        &reader,
        &Query {
            object,
            since: None,
        },
    )
    .await
    .unwrap();
    assert_eq!(one.len(), 2);
    let text = timeline::lines(&one, Painter::plain()).join("\n");
    assert!(text.contains("gone (user)"), "{text}");

    let later = jiff::Timestamp::now() + Duration::from_hours(1);
    let none = ledger::read(
        &reader,
        &Query {
            object: None,
            since: Some(later),
        },
    )
    .await
    .unwrap();
    assert_eq!(none, []);
    bus.cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_named() {
    let args = BusArgs {
        nats_url: "nats://127.0.0.1:1".to_owned(),
        nkey_file: None,
        cluster: "default".to_owned(),
    };
    let error = ledger::read(&args, &Query::default()).await.unwrap_err();
    assert!(matches!(error, CliError::Nats { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("nats://127.0.0.1:1") && text.contains("--nats-url"),
        "{text}"
    );
}
