//! A right that is taken away is named by whom it concerns; all others go on.

use std::time::Duration;

use serde_json::json;
use signalbox_tests::wait::throughout;
use signalbox_tests::{Objects, World, WorldOptions, eventually, fleet};

use crate::PATIENCE;
use crate::planned::Planned;

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_right_is_named_and_others_go_on() {
    let world = World::start("rights", WorldOptions::BARE).await;
    let mut parts = world.parts();
    let free = world.namespace(&[]).await;
    // The right to Services goes for everybody but is given back in one namespace.
    let rules = world
        .cluster
        .kubectl(&["get", "clusterrole", "signalbox-executor", "-o", "yaml"])
        .await
        .unwrap();
    let without: String = rules.replace("- services\n", "- nothings\n");
    assert_ne!(rules, without, "the rule is found: {rules}");
    let blocked = world.namespace(&[]).await;
    world
        .apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: services, namespace: {ns} }}
rules: [{{ apiGroups: [''], resources: [services], verbs: [get, create, update, patch, delete] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: services, namespace: {ns} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: services }}
subjects: [{{ kind: ServiceAccount, name: executor, namespace: signalbox-system }}]
",
            ns = free.namespace
        ))
        .await;
    // Without what the server assigned, so that it can be applied again.
    let bare = |text: &str| -> String {
        let assigned = ["resourceVersion:", "uid:", "creationTimestamp:"];
        text.lines()
            .filter(|l| !assigned.iter().any(|a| l.contains(a)))
            .collect::<Vec<_>>()
            .join("\n")
    };
    world.apply(&bare(&without)).await;
    fleet::create(&world, &blocked, 60).await;
    eventually("each says which right is missing", PATIENCE, || async {
        none(silent(&blocked).await)
    })
    .await;
    fleet::create(&world, &free, 10).await;
    fleet::settles(&world, &free, PATIENCE).await;
    assert!(
        free.find("service", "app-9").await.is_some(),
        "the others go on"
    );

    // A failover of all parts: it stays said while every app is looked at again, and behind that.
    let bus = world.bus().await;
    for part in &mut parts {
        part.kill().await;
    }
    drop(parts);
    let planned = Planned::from_now(&world, &blocked).await;
    let _parts = world.parts();
    eventually("all are looked at again", PATIENCE, || async {
        let unsaid = silent(&blocked).await;
        assert!(unsaid.is_empty(), "forgotten in the failover: {unsaid:?}");
        match planned.count(&bus).await {
            60 => Ok(()),
            some => Err(format!("{some} of 60 planned")),
        }
    })
    .await;
    throughout("it stays said", Duration::from_secs(3), || async {
        none(silent(&blocked).await)
    })
    .await;
    free.patch("papp", "app-0", json!({"spec": {"replicas": 2}}))
        .await;
    eventually("the others go on after the failover", PATIENCE, || async {
        let deployments = free.list("deployment").await;
        let scaled = deployments.iter().filter(|d| d["spec"]["replicas"] == 2);
        match scaled.count() {
            1 => Ok(()),
            some => Err(format!("{some} scaled")),
        }
    })
    .await;

    // Nobody touches the apps: time alone heals them, at the latest after the longest backoff.
    world.apply(&bare(&rules)).await;
    eventually("it heals", Duration::from_mins(6), || async {
        let services = blocked.list("service").await.len();
        let apps = blocked.list("papp").await;
        let failing = apps
            .iter()
            .filter(|a| a["status"]["lastFailure"].is_object())
            .count();
        if services == 60 && failing == 0 {
            Ok(())
        } else {
            Err(format!("{services} services, {failing} failing"))
        }
    })
    .await;
    for app in blocked.list("papp").await {
        assert_eq!(app["metadata"]["generation"], 1, "nobody changed it");
    }
}

/// Apps whose status does not name verb, resource and namespace of the missing right.
async fn silent(blocked: &Objects) -> Vec<String> {
    let apps = blocked.list("papp").await;
    assert_eq!(apps.len(), 60);
    apps.iter()
        .filter(|app| {
            let failure = &app["status"]["lastFailure"];
            let name = app["metadata"]["name"].as_str().unwrap();
            let right = format!(
                "failed to patch services {name} in namespace {}: ",
                blocked.namespace
            );
            let message = failure["message"].as_str().unwrap_or_default();
            failure["class"] != "Forbidden" || !message.starts_with(&right)
        })
        .map(|app| format!("{}: {}", app["metadata"]["name"], app["status"]))
        .collect()
}

/// Refuses with the first of `unsaid`, if any.
fn none(unsaid: Vec<String>) -> Result<(), String> {
    let count = unsaid.len();
    match unsaid.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(format!("{count} silent: {first}")),
    }
}
