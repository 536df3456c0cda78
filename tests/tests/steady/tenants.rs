//! One namespace whose rights, quota, policy or very existence is gone: what the others notice of it, how many flights
//! the bad one takes, and that it heals once what was taken is back.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};
use signalbox_common::bus::rights::Role;
use signalbox_common::rights::tenant_yaml;
use signalbox_common::wire::planned::PLANNED;
use signalbox_tests::figures::figure;
use signalbox_tests::fixtures::app;
use signalbox_tests::objects::ready;
use signalbox_tests::{Objects, World, eventually, fleet};

use crate::{PATIENCE, all_serve, names, set, world};

/// Apps of a namespace.
const APPS: usize = 4;
/// Changes that are measured.
const CHANGES: usize = 40;
const SECRET: &str = "  secrets: [{ name: api-keys, env: true }]\n  rollout: { drainSeconds: 0 }";
const PLAIN: &str = "  rollout: { drainSeconds: 0 }";

/// How long each of many changes takes from its write until its status has it, the slowest twentieth left out.
async fn latency(objects: &Objects, word: &str) -> Duration {
    let mut took = Vec::new();
    for number in 0..CHANGES {
        let name = fleet::name(number % APPS);
        let begun = Instant::now();
        let patch = json!({"spec": {"config": {"ROUND": format!("{word}{number}")}}});
        let app = objects.patch("papp", &name, patch).await;
        let generation = app["metadata"]["generation"].as_i64().unwrap();
        let version = app["metadata"]["resourceVersion"].as_str().unwrap();
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let apps = objects.api("papp");
        let mut events = apps.watch(&params, version).await.unwrap().boxed();
        while let Some(event) = events.next().await {
            let WatchEvent::Modified(app) = event.unwrap() else {
                continue;
            };
            let app = serde_json::to_value(app).unwrap();
            if app["status"]["observedGeneration"].as_i64() >= Some(generation) {
                took.push(begun.elapsed());
                break;
            }
        }
    }
    took.sort();
    took[CHANGES * 19 / 20]
}

/// A namespace with apps that serve.
async fn tenant(world: &World, secrets: &[&str], lines: &str) -> Objects {
    let objects = world.namespace(secrets).await;
    let space = &objects.namespace;
    if !secrets.is_empty() {
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: api-keys, namespace: {space} }}\nstringData: {{ TOKEN: first }}\n"
        );
        world.apply(&secret).await;
    }
    let documents: Vec<_> = names(APPS)
        .iter()
        .map(|name| app(space, name, "example/orders:1", lines))
        .collect();
    world.apply(&documents.join("---")).await;
    all_serve(world, &objects).await;
    objects
}

fn policy(space: &str) -> String {
    format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{ name: freeze }}
spec:
  matchConstraints:
    resourceRules:
      - {{ apiGroups: [apps], apiVersions: ['*'], resources: [deployments], operations: [CREATE, UPDATE] }}
      - {{ apiGroups: [''], apiVersions: ['*'], resources: [services, configmaps], operations: [CREATE, UPDATE] }}
  validations:
    - {{ expression: \"!request.userInfo.username.endsWith(':executor')\", message: frozen }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{ name: freeze }}
spec:
  policyName: freeze
  validationActions: [Deny]
  matchResources: {{ namespaceSelector: {{ matchLabels: {{ kubernetes.io/metadata.name: {space} }} }} }}
"
    )
}

fn quota(space: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{ name: none, namespace: {space} }}\nspec: {{ hard: {{ count/deployments.apps: '0' }} }}\n"
    )
}

/// Waits until that is so of each app.
async fn each(objects: &Objects, what: &str, is_so: impl Fn(&Value) -> Result<(), String>) {
    eventually(what, PATIENCE, || async {
        let apps = objects.list("papp").await;
        apps.iter().try_for_each(&is_so)
    })
    .await;
}

/// Waits until each app's status tells of the refusal.
async fn is_told(objects: &Objects, words: &str) {
    let what = format!("all of {} tell of `{words}`", objects.namespace);
    each(objects, &what, |app| {
        let message = app["status"]["lastFailure"]["message"].to_string();
        if message.contains(words) {
            return Ok(());
        }
        Err(format!("{}: {}", app["metadata"]["name"], app["status"]))
    })
    .await;
}

/// Events of a namespace's apps in LEDGER so far, each with its Plan.
async fn events(world: &World, objects: &Objects) -> usize {
    let client = world.nats(&Role::Reader).await;
    let ledger = async_nats::jetstream::new(client);
    let ledger = ledger.get_stream_no_info("LEDGER").await.unwrap();
    let of = format!("sb.ledger.suite.{PLANNED}.*.{}.*", objects.namespace);
    let mut subjects = ledger.info_with_subjects(of).await.unwrap();
    let mut sum = 0;
    while let Some(subject) = subjects.next().await {
        sum += subject.unwrap().1;
    }
    sum
}

async fn kubectl(world: &World, arguments: &[&str]) {
    world.cluster.kubectl(arguments).await.unwrap();
}

/// The apps serve their newest image.
async fn heals(objects: &Objects) {
    each(objects, "what was taken is back, so all serve", |app| {
        ready(app)?;
        let outdated = app["status"]["stable"] != app["status"]["revision"];
        if outdated || app["status"]["lastFailure"].is_object() {
            return Err(app["status"].to_string());
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_that_may_nothing_hold_up_nobody() {
    let world = world("steady-tenants").await;
    let _parts = world.parts();
    let good = world.namespace(&[]).await;
    fleet::create(&world, &good, APPS).await;
    fleet::settles(&world, &good, PATIENCE).await;
    let keyless = tenant(&world, &["api-keys"], SECRET).await;
    let frozen = tenant(&world, &[], PLAIN).await;
    let full = tenant(&world, &[], PLAIN).await;
    let ending = tenant(&world, &[], PLAIN).await;
    let without = latency(&good, "without").await;

    let binding = ["delete", "rolebinding", "signalbox-executor-secrets", "-n"];
    kubectl(
        &world,
        &[binding.as_slice(), &[&keyless.namespace]].concat(),
    )
    .await;
    world.apply(&policy(&frozen.namespace)).await;
    world.apply(&quota(&full.namespace)).await;
    eventually("the quota counts", PATIENCE, || async {
        let arguments = [
            "get",
            "quota",
            "none",
            "-o",
            "jsonpath={.status.hard}",
            "-n",
        ];
        let arguments = [arguments.as_slice(), &[&full.namespace]].concat();
        match world.cluster.kubectl(&arguments).await.unwrap().as_str() {
            "" => Err("no status yet"),
            _ => Ok(()),
        }
    })
    .await;
    // Somebody holds its apps, so the namespace stays as it is: about to end.
    let held = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    for name in names(APPS) {
        ending.patch("papp", &name, held.clone()).await;
    }
    kubectl(
        &world,
        &["delete", "namespace", &ending.namespace, "--wait=false"],
    )
    .await;
    each(&ending, "its apps are being deleted", |app| {
        if app["metadata"]["deletionTimestamp"].is_null() {
            return Err(app["metadata"].to_string());
        }
        Ok(())
    })
    .await;
    let bad = [&keyless, &frozen, &full];
    for objects in bad {
        let image = if objects.namespace == frozen.namespace {
            // A policy begins to bind a moment after it is there.
            eventually("the policy binds", PATIENCE, || async {
                let executor = "--as=system:serviceaccount:signalbox-system:executor";
                let name = [
                    "create",
                    "deployment",
                    "probe",
                    "--image=x",
                    "--dry-run=server",
                    executor,
                    "-n",
                ];
                let name = [name.as_slice(), &[&frozen.namespace]].concat();
                match world.cluster.kubectl(&name).await {
                    Err(refused) if refused.to_string().contains("frozen") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
            "example/orders:frozen"
        } else {
            "example/orders:2"
        };
        set(objects, &names(APPS), image).await;
    }
    is_told(&full, "exceeded quota").await;
    is_told(&frozen, "ValidatingAdmissionPolicy 'freeze'").await;
    for name in names(APPS) {
        keyless
            .patch("papp", &name, json!({"spec": {"restart": "now"}}))
            .await;
    }
    is_told(&keyless, "get secrets api-keys").await;

    each(&ending, "nothing of ours holds its apps", |app| {
        if app["metadata"]["finalizers"] == json!(["example.com/hold"]) {
            return Ok(());
        }
        Err(app["metadata"].to_string())
    })
    .await;

    let (before, since) = (events_of(&world, &bad).await, Instant::now());
    let ended = events(&world, &ending).await;
    let beside = latency(&good, "beside").await;
    // So long that what was wrong a moment ago is no part of the count.
    let rest = Duration::from_secs(15).saturating_sub(since.elapsed());
    tokio::time::sleep(rest).await;
    let flights = events_of(&world, &bad).await - before;
    let minutes = since.elapsed().as_secs_f64() / 60.0;
    #[expect(clippy::cast_precision_loss, reason = "a few flights")]
    let rate = flights as f64 / minutes / (3 * APPS) as f64;
    figure("tenants-latency-p95-without", without.as_millis(), "ms");
    figure("tenants-latency-p95-beside", beside.as_millis(), "ms");
    figure("tenants-bad-flights", rate, "per app and minute");
    assert!(rate <= 24.0, "{rate} flights of an app and minute");
    // A last look behind each app's end may still have been under way.
    let looks = events(&world, &ending).await - ended;
    assert!(looks <= APPS, "{looks} flights where nothing can be done");
    assert!(
        beside <= 4 * without + Duration::from_millis(500),
        "{without:?} {beside:?}"
    );

    world
        .apply(&tenant_yaml(&keyless.namespace, &["api-keys"]))
        .await;
    for kind in [
        "validatingadmissionpolicybinding",
        "validatingadmissionpolicy",
    ] {
        kubectl(&world, &["delete", kind, "freeze"]).await;
    }
    kubectl(&world, &["delete", "quota", "none", "-n", &full.namespace]).await;
    let back = Instant::now();
    for objects in bad {
        heals(objects).await;
    }
    figure("tenants-heal", back.elapsed().as_secs_f64(), "s");
    for name in names(APPS) {
        ending
            .patch("papp", &name, json!({"metadata": {"finalizers": null}}))
            .await;
    }
    let gone = ["wait", "--for=delete", "--timeout=120s", "namespace"];
    kubectl(&world, &[gone.as_slice(), &[&ending.namespace]].concat()).await;
    fleet::settles(&world, &good, PATIENCE).await;
}

async fn events_of(world: &World, all: &[&Objects]) -> usize {
    let mut sum = 0;
    for objects in all {
        sum += events(world, objects).await;
    }
    sum
}
