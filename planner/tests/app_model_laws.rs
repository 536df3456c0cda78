//! Laws of apps: plans are determined, settle, survive a crash after any action, and never let fewer
//! pods serve than are wanted.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod model;

use std::collections::BTreeMap;

use model::{APP, Cluster};
use proptest::prelude::*;
use serde_json::{Value, json};
use signalbox_common::wire::LiveObject;
use signalbox_common::wire::plan::Verdict;

fn minimal() -> Value {
    json!({"image": "example/orders:1", "ports": [{"name": "http", "port": 8080}]})
}

fn keys(cluster: &mut Cluster) -> Vec<String> {
    match cluster.plan().verdict {
        Verdict::Act { actions } => actions.into_iter().map(|planned| planned.key).collect(),
        Verdict::Settled | Verdict::Waiting { .. } => Vec::new(),
    }
}

fn condition(cluster: &Cluster, type_: &str) -> String {
    let conditions = cluster.status["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == type_).unwrap()["status"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn a_minimal_app_costs_four_writes_and_one_when_it_is_ready() {
    let mut cluster = Cluster::new(minimal());
    assert_eq!(keys(&mut cluster).len(), 4, "{:?}", keys(&mut cluster));
    cluster.flight(usize::MAX);
    assert!(keys(&mut cluster).is_empty(), "{:?}", keys(&mut cluster));
    assert_eq!(cluster.rests, 1, "as it was foreseen");
    cluster.settle();
    assert_eq!(keys(&mut cluster), ["status"]);
    cluster.drive(None);
    assert_eq!(cluster.writes, 5);
    assert_eq!(condition(&cluster, "Ready"), "True");
    assert_eq!(cluster.status["phase"], "Ready");
}

#[test]
fn a_new_image_goes_through_its_steps_without_losing_a_pod() {
    let mut spec = minimal();
    spec["replicas"] = json!(4);
    spec["rollout"] =
        json!({"steps": [{"weight": 25, "pauseSeconds": 30}, {"weight": 50}], "drainSeconds": 5});
    let mut cluster = Cluster::new(spec);
    cluster.drive(None);
    let first = cluster.status["stable"].clone();
    let start = cluster.now;
    cluster.change(&json!({"image": "example/orders:2"}));
    cluster.drive(None);
    assert_ne!(cluster.status["stable"], first);
    assert_eq!(cluster.status["rollout"]["state"], "Completed");
    assert_eq!(cluster.promoted.len(), 1, "{:?}", cluster.promoted);
    assert!(
        cluster.now.duration_since(start).as_secs() >= 35,
        "pause and drain are kept"
    );
    assert_eq!(cluster.serving(), 4);
    assert_eq!(condition(&cluster, "Ready"), "True");
}

#[test]
fn a_bad_image_is_rolled_back_and_not_tried_again() {
    let mut spec = minimal();
    spec["replicas"] = json!(3);
    let mut cluster = Cluster::new(spec);
    cluster.drive(None);
    let first = cluster.status["stable"].clone();
    cluster.change(&json!({"image": "example/bad:2"}));
    cluster.drive(None);
    assert_eq!(cluster.status["stable"], first);
    assert_eq!(cluster.status["rollout"]["state"], "RolledBack");
    assert_eq!(cluster.status["phase"], "RolledBack");
    assert_eq!(condition(&cluster, "Ready"), "False");
    assert_eq!(cluster.warnings, ["ProgressDeadlineExceeded"]);
    assert_eq!(cluster.serving(), 3);
    cluster.change(&json!({"image": "example/orders:3"}));
    cluster.drive(None);
    assert_eq!(condition(&cluster, "Ready"), "True");
}

#[test]
fn going_back_to_an_old_image_serves_it_again() {
    let mut spec = minimal();
    spec["replicas"] = json!(2);
    let mut cluster = Cluster::new(spec);
    cluster.drive(None);
    let first = cluster.status["stable"].clone();
    for image in ["example/orders:2", "example/orders:1"] {
        cluster.change(&json!({"image": image}));
        cluster.drive(None);
        assert_eq!(condition(&cluster, "Ready"), "True");
    }
    assert_eq!(cluster.status["stable"], first);
    assert_eq!(cluster.serving(), 2);
}

#[test]
fn the_old_revision_is_repaired_in_the_middle_of_a_rollout() {
    let mut spec = minimal();
    spec["replicas"] = json!(2);
    spec["config"] = json!({"LEVEL": "info"});
    let mut cluster = Cluster::new(spec);
    cluster.drive(None);
    let name = format!("{APP}-{}", cluster.status["stable"].as_str().unwrap());
    cluster.change(&json!({"image": "example/bad:2"}));
    cluster.drive(None);
    let key = ("Deployment".to_owned(), name);
    let before = cluster.children.get(&key).unwrap().content["spec"]["template"].clone();
    cluster.children.get_mut(&key).unwrap().content["spec"]["template"]["spec"]["dnsPolicy"] =
        json!("None");
    cluster.drive(None);
    assert_eq!(
        cluster.children.get(&key).unwrap().content["spec"]["template"],
        before
    );
    cluster.children.remove(&key);
    cluster.drive_from_nothing();
    assert_eq!(
        cluster.children.get(&key).unwrap().content["spec"]["template"],
        before
    );
    assert_eq!(cluster.serving(), 2);
}

#[test]
fn deletion_waits_ends_the_pods_and_takes_the_volume() {
    let mut spec = minimal();
    spec["storage"] = json!({"size": "1Gi", "mountPath": "/data"});
    spec["deletion"] = json!({"gracePeriodSeconds": 10, "storage": "Delete"});
    let mut cluster = Cluster::new(spec);
    assert_eq!(keys(&mut cluster), ["finalizer"]);
    cluster.drive(None);
    assert!(
        cluster
            .children
            .contains_key(&("PersistentVolumeClaim".to_owned(), APP.to_owned()))
    );
    let start = cluster.now;
    cluster.deleted_at = Some(start);
    cluster.drive(None);
    assert!(cluster.gone);
    assert!(cluster.now.duration_since(start).as_secs() >= 10);
    assert!(
        !cluster
            .children
            .contains_key(&("PersistentVolumeClaim".to_owned(), APP.to_owned()))
    );
}

#[test]
fn a_pause_holds_the_canary_and_scaling_goes_on() {
    let mut spec = minimal();
    spec["replicas"] = json!(2);
    let mut cluster = Cluster::new(spec);
    cluster.drive(None);
    let first = cluster.status["stable"].clone();
    cluster.change(&json!({"paused": true, "image": "example/orders:2"}));
    cluster.drive(None);
    assert_eq!(
        (&cluster.status["phase"], &cluster.status["stable"]),
        (&json!("Paused"), &first)
    );
    cluster.change(&json!({"replicas": 5}));
    cluster.drive(None);
    assert_eq!(cluster.serving(), 5);
    cluster.change(&json!({"paused": false}));
    cluster.drive(None);
    assert_ne!(cluster.status["stable"], first);
}

fn migration() -> LiveObject {
    LiveObject {
        kind: "DatabaseMigration".to_owned(),
        name: "schema".to_owned(),
        uid: "schema-uid".to_owned(),
        resource_version: "1".to_owned(),
        generation: Some(1),
        created_at: "2026-01-01T00:00:00Z".parse().unwrap(),
        deleted_at: None,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        owners: Vec::new(),
        finalizers: Vec::new(),
        foreign: Vec::new(),
        content: json!({"spec": {"app": APP, "files": [{"name": "V1__a.sql"}]}, "status": {"observedGeneration": 1}}),
    }
}

fn migrated() -> Cluster {
    let mut spec = minimal();
    spec["replicas"] = json!(2);
    spec["migrations"] = json!({"name": "schema", "requires": "1"});
    let mut cluster = Cluster::new(spec);
    cluster.linked.push(migration());
    cluster
}

#[test]
fn no_pod_starts_before_the_schema_and_contract_comes_last() {
    let mut cluster = migrated();
    let first = keys(&mut cluster);
    assert!(
        first.contains(&"release/DatabaseMigration/schema".to_owned()),
        "{first:?}"
    );
    assert!(
        first.iter().all(|key| !key.contains("Deployment/")),
        "{first:?}"
    );
    cluster.drive(None);
    let release = |cluster: &Cluster| cluster.linked[0].content["spec"]["release"].clone();
    assert_eq!(
        release(&cluster),
        json!({"phase": "Contract", "revision": cluster.status["stable"]})
    );
    cluster.change(&json!({"image": "example/bad:2"}));
    cluster.drive(None);
    let stable = cluster.status["stable"].clone();
    assert_eq!(
        release(&cluster),
        json!({"phase": "Expand", "revision": stable}),
        "it is withdrawn"
    );
    assert_eq!(cluster.serving(), 2);
}

/// Seed 61731: a `ConfigMap` was deleted while the old revision drained, and the plan that went on to contract made it
/// twice, which no executor takes.
#[test]
fn what_is_deleted_at_any_step_of_a_rollout_comes_back() {
    for (kind, step) in ["ConfigMap", "PodDisruptionBudget"]
        .into_iter()
        .flat_map(|kind| (0..30).map(move |step| (kind, step)))
    {
        let mut cluster = migrated();
        cluster.change(
            &json!({"disruptionBudget": {"maxUnavailable": "1"}, "rollout": {"drainSeconds": 1}}),
        );
        cluster.drive(None);
        cluster.change(&json!({"image": "example/orders:2"}));
        for _ in 0..step {
            cluster.flight(usize::MAX);
            cluster.settle();
            cluster.pass(300);
        }
        cluster.rob(kind);
        cluster.drive(None);
        assert_eq!(condition(&cluster, "Ready"), "True", "{kind} at {step}");
        assert!(
            cluster.children.keys().any(|(of, _)| of == kind),
            "{kind} at {step}"
        );
    }
}

#[test]
fn an_older_revision_is_refused_once_contract_left_it_behind() {
    let mut cluster = migrated();
    cluster.drive(None);
    cluster.change(&json!({"image": "example/orders:2"}));
    cluster.drive(None);
    let stable = cluster.status["stable"].clone();
    let applied = cluster
        .now
        .checked_add(jiff::SignedDuration::from_secs(1))
        .unwrap()
        .to_string();
    cluster.linked[0].content["status"]["applied"] = json!([{"name": "V2__drop.sql", "phase": "Contract", "sha256": "", "stepId": "", "appliedAt": applied}]);
    cluster.change(&json!({"image": "example/orders:1"}));
    cluster.drive(None);
    assert_eq!(cluster.status["stable"], stable);
    assert_eq!(cluster.status["rollout"]["state"], "RolledBack");
    assert_eq!(cluster.warnings, ["RollbackRefused"]);
    assert_eq!(cluster.serving(), 2);
}

fn change() -> impl Strategy<Value = Value> {
    prop_oneof![
        (1..4_u32).prop_map(|tag| json!({"image": format!("example/orders:{tag}")})),
        Just(json!({"image": "example/bad:1"})),
        (1..6_i64).prop_map(|replicas| json!({"replicas": replicas})),
        any::<bool>().prop_map(|paused| json!({"paused": paused})),
        any::<bool>().prop_map(|debug| json!({"config": {"DEBUG": debug.to_string()}})),
        any::<bool>().prop_map(
            |rolling| json!({"rollout": {"strategy": if rolling { "Rolling" } else { "Canary" }}})
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is changed in between: it settles, serves what was last asked for if that can run, and
    /// never has fewer pods than before and after.
    #[test]
    fn any_changes_settle(changes in prop::collection::vec((change(), 0..6_usize, any::<bool>()), 1..8)) {
        let mut spec = minimal();
        spec["replicas"] = json!(3);
        let mut cluster = Cluster::new(spec);
        cluster.drive(None);
        for (change, flights, robbed) in changes {
            cluster.change(&change);
            if robbed {
                cluster.rob("ConfigMap");
            }
            for _ in 0..flights {
                cluster.flight(usize::MAX);
                cluster.settle();
            }
        }
        cluster.change(&json!({"paused": false}));
        cluster.drive(None);
        let bad = cluster.spec["image"] == "example/bad:1";
        prop_assert_eq!(condition(&cluster, "Ready") == "True", !bad, "{}", cluster.status);
        prop_assert_eq!(cluster.serving(), cluster.replicas());
        let busy = cluster.deployments().into_iter().filter(|(_, replicas)| *replicas > 0).count();
        prop_assert!(busy <= 1, "{:?}", cluster.deployments());
        prop_assert!(keys(&mut cluster).is_empty());
    }

    /// A crash after any action ends where no crash ends.
    #[test]
    fn a_crash_after_any_action_reaches_the_same_end(changes in prop::collection::vec(change(), 1..4), crash in 0..6_usize, at in 0..12_usize) {
        let mut spec = minimal();
        spec["replicas"] = json!(3);
        let mut straight = Cluster::new(spec);
        let mut crashed = straight.clone();
        straight.drive(None);
        crashed.drive(Some(crash));
        prop_assert_eq!(straight.end(), crashed.end());
        for change in changes {
            straight.change(&change);
            straight.drive(None);
            crashed.change(&change);
            for _ in 0..at {
                crashed.flight(usize::MAX);
                crashed.settle();
            }
            crashed.drive(Some(crash));
            prop_assert_eq!(straight.end(), crashed.end());
        }
    }
}
