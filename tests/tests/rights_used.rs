//! Rights that are granted are rights that are used, no more and no less: the API server's own audit log is asked.
//!
//! One app with everything, one driven migration and one from a `ConfigMap` live through all that writes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use signalbox_common::rights::{Component, Rule};
use signalbox_tests::audit::Right;
use signalbox_tests::fixtures::{app, database_secret, migration};
use signalbox_tests::objects::{ready, stable};
use signalbox_tests::{Objects, World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(1);

const EVERYTHING: &str = "  replicas: 2
  config: { LEVEL: info }
  secrets: [{ name: api-keys, env: true }]
  storage: { size: 1Gi, mountPath: /data }
  autoscaling: { minReplicas: 2, maxReplicas: 6 }
  disruptionBudget: { minAvailable: '1' }
  migrations: { name: schema }
  rollout: { steps: [{ weight: 50 }], drainSeconds: 0, progressDeadlineSeconds: 3, historyLimit: 1 }
  deletion: { storage: Delete, gracePeriodSeconds: 1 }";

/// The second one runs longer than its Lease lives without a renewal.
const FILES: &str = "  - name: V1__accounts.sql
    sql: CREATE TABLE accounts (id int PRIMARY KEY, name text)
  - name: V2__slow.sql
    sql: SELECT pg_sleep(4)
  - name: V3__drop_name.sql
    phase: Contract
    sql: ALTER TABLE accounts DROP COLUMN name";

/// Rights that no request shows: an admission plugin, on in these servers, asks for them before a blocking
/// owner reference may be set.
const ASKED_BY_ADMISSION: [&str; 2] = [
    "Executor update signalbox.dev/databasemigrations/finalizers",
    "Executor update signalbox.dev/portfolioapps/finalizers",
];

fn granted(rules: &[Rule]) -> BTreeSet<Right> {
    let rights = rules.iter().flat_map(|rule| {
        let sub = rule.subresource.map(|sub| format!("/{sub}"));
        let resource = format!(
            "{}/{}{}",
            rule.group,
            rule.resource,
            sub.unwrap_or_default()
        );
        let verbs = rule.verbs.iter();
        verbs.map(move |verb| ((*verb).to_owned(), resource.clone()))
    });
    rights.collect()
}

/// The namespace's app is Ready and its revision another one than `before`.
async fn moves_on(objects: &Objects, before: &str) -> String {
    eventually("another revision is stable", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        let now = stable(&app);
        if now == before { Err(now) } else { Ok(now) }
    })
    .await
}

/// Waits until a field is what it was before somebody changed it.
async fn undone(objects: &Objects, kind: &str, name: &str, patch: Value, pointer: &str) {
    let before = objects.get(kind, name).await.pointer(pointer).cloned();
    objects.patch(kind, name, patch).await;
    eventually(&format!("{kind} {name} {pointer}"), PATIENCE, || async {
        let live = objects.get(kind, name).await;
        if live.pointer(pointer) == before.as_ref() {
            Ok(())
        } else {
            Err(live.to_string())
        }
    })
    .await;
}

async fn gone(objects: &Objects, kind: &str, name: &str) {
    eventually(&format!("{kind} {name} is gone"), PATIENCE, || async {
        objects
            .find(kind, name)
            .await
            .map_or(Ok(()), |live| Err(live.to_string()))
    })
    .await;
}

/// A namespace with Secrets, files and a database of its own.
async fn prepare(world: &World, database: &str) -> Objects {
    let objects = world.namespace(&["ledger-db", "api-keys"]).await;
    let space = objects.namespace.as_str();
    let url = world.cluster.create_database(database).await.unwrap();
    world.apply(&database_secret(space, &url)).await;
    world
        .apply(&format!(
            "
apiVersion: v1
kind: Secret
metadata: {{ name: api-keys, namespace: {space} }}
stringData: {{ TOKEN: first }}
---
apiVersion: v1
kind: ConfigMap
metadata: {{ name: files, namespace: {space} }}
data: {{ V1__other.sql: 'CREATE TABLE other (id int)' }}
"
        ))
        .await;
    objects
}

/// Until the executor has read a Lease of its own that it could not renew because somebody else wrote to it.
async fn somebody_touches_each_lease(world: &World, objects: &Objects) {
    let read: Right = ("get".to_owned(), "coordination.k8s.io/leases".to_owned());
    let round = AtomicUsize::new(0);
    eventually("a Lease is read", PATIENCE, || async {
        let round = round.fetch_add(1, Ordering::Relaxed).to_string();
        for lease in objects.list("lease").await {
            let name = lease["metadata"]["name"].as_str().unwrap();
            let label = Patch::Merge(json!({"metadata": {"labels": {"touched": round}}}));
            let (leases, params) = (objects.api("lease"), PatchParams::default());
            // It may be gone by now.
            drop(leases.patch(name, &params, &label).await);
        }
        let used = world.audit().rights_of(&Component::Executor.user());
        if used.contains(&read) {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
}

/// Until the executor has read an app whose status it could not write because the user was faster.
async fn a_user_is_faster(world: &World, objects: &Objects) {
    let read: Right = ("get".to_owned(), "signalbox.dev/portfolioapps".to_owned());
    let round = AtomicUsize::new(0);
    eventually("an app is read", PATIENCE, || async {
        let note = round.fetch_add(1, Ordering::Relaxed).to_string();
        let spec = json!({"spec": {"config": {"ROUND": note}}});
        objects.patch("papp", "orders", spec).await;
        let used = world.audit().rights_of(&Component::Executor.user());
        if used.contains(&read) {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
}

/// A volume of the app's name that is somebody else's is read behind the refusal, and told.
async fn a_taken_volume_is_told(world: &World, objects: &Objects) {
    let space = &objects.namespace;
    world
        .apply(&format!(
            "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{ name: orders, namespace: {space} }}
spec: {{ accessModes: [ReadWriteOnce], resources: {{ requests: {{ storage: 1Gi }} }} }}
"
        ))
        .await;
    let lines = "  storage: { size: 1Gi, mountPath: /data }";
    world
        .apply(&app(space, "orders", "example/orders:1", lines))
        .await;
    eventually("the status names it", PATIENCE, || async {
        let status = objects.get("papp", "orders").await["status"].to_string();
        if status.contains("NameTaken") && status.contains("PersistentVolumeClaim") {
            Ok(())
        } else {
            Err(status)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_that_is_granted_is_used() {
    let world = World::start("rights", WorldOptions::PODS_AND_DATABASES).await;
    let _parts = world.parts();
    let objects = prepare(&world, "rights").await;
    let others = prepare(&world, "others").await;
    let space = objects.namespace.clone();

    world
        .apply(&migration(&space, "schema", Some("orders"), FILES))
        .await;
    let other = migration(&others.namespace, "other", None, "  - name: V1__other.sql");
    world.apply(&format!("{other}  configMap: files\n")).await;
    world
        .apply(&app(&space, "orders", "example/orders:1", EVERYTHING))
        .await;
    let (first, ()) = tokio::join!(
        async { stable(&objects.becomes_ready("orders").await) },
        somebody_touches_each_lease(&world, &objects),
    );
    others.is_ready("dbm", "other").await;
    objects.is_ready("dbm", "schema").await;
    let waiting = ["status", "orders", "-n", &space, "--wait"];
    for arguments in [
        ["get", "orders", "-n", &space].as_slice(),
        &["get", "dbm", "schema", "-n", &space],
    ] {
        let (code, text) = world.signalbox_as_reader(arguments).await;
        assert_eq!(code, Some(0), "{text}");
    }

    // A canary, a bad image, and enough revisions that old ones are forgotten.
    let image = |image: &str| json!({"spec": {"image": image}});
    objects
        .patch("papp", "orders", image("example/orders:2"))
        .await;
    let (code, text) = world.signalbox_as_reader(&waiting).await;
    assert_eq!(code, Some(0), "{text}");
    let second = moves_on(&objects, &first).await;
    objects
        .patch("papp", "orders", image("example/bad:3"))
        .await;
    eventually("it is rolled back", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        let phase = app["status"]["phase"].to_string();
        if phase.contains("RolledBack") {
            Ok(())
        } else {
            Err(phase)
        }
    })
    .await;
    objects
        .patch("papp", "orders", image("example/orders:4"))
        .await;
    let fourth = moves_on(&objects, &second).await;
    gone(&objects, "deployment", &format!("orders-{first}")).await;
    gone(&objects, "configmap", &format!("orders-{first}")).await;

    // What others set on children takes a replacement to be taken away again.
    let revision = format!("orders-{fourth}");
    let files = objects.get("configmap", "files").await["metadata"]["uid"].clone();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "files", "uid": files});
    let owned = json!({"metadata": {"ownerReferences": [owner]}});
    for (kind, name, patch, pointer) in [
        (
            "service",
            "orders",
            json!({"spec": {"publishNotReadyAddresses": true}}),
            "/spec/publishNotReadyAddresses",
        ),
        (
            "configmap",
            &revision,
            json!({"data": {"FOREIGN": "key"}}),
            "/data/FOREIGN",
        ),
        (
            "deployment",
            &revision,
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
            "/spec/template/spec/hostNetwork",
        ),
        (
            "hpa",
            "orders",
            json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 9}}}}),
            "/spec/behavior/scaleDown/stabilizationWindowSeconds",
        ),
        (
            "pdb",
            "orders",
            json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}}),
            "/spec/unhealthyPodEvictionPolicy",
        ),
        ("pvc", "orders", owned, "/metadata/ownerReferences"),
    ] {
        undone(&objects, kind, name, patch, pointer).await;
    }

    a_taken_volume_is_told(&world, &others).await;
    a_user_is_faster(&world, &objects).await;
    objects.becomes_ready("orders").await;

    // What is not asked for any more goes.
    let less = json!({"spec": {"autoscaling": null, "disruptionBudget": null, "ports": []}});
    objects.patch("papp", "orders", less).await;
    for kind in ["hpa", "pdb", "service"] {
        gone(&objects, kind, "orders").await;
    }
    objects.delete("papp", "orders").await;
    gone(&objects, "papp", "orders").await;
    gone(&objects, "pvc", "orders").await;

    let audit = world.audit();
    let mut unused = BTreeSet::new();
    for component in [Component::Watcher, Component::Executor, Component::Reader] {
        let used = audit.rights_of(&component.user());
        let granted = granted(&[component.rules(), component.own_rules()].concat());
        let unused_here = granted.difference(&used);
        unused.extend(unused_here.map(|(verb, on)| format!("{component:?} {verb} {on}")));
    }
    let unused: Vec<String> = unused.into_iter().collect();
    assert_eq!(unused, ASKED_BY_ADMISSION, "granted, never used");
}
