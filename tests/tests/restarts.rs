//! What restarts no pod: scaling, pausing, a Secret that is rotated meanwhile, and another build of the planner with
//! another renderer. Pods are known by their uids, pod templates by their bytes.

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

use serde_json::{Value, json};
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::ready;
use signalbox_tests::wait::throughout;
use signalbox_tests::{Objects, Part, PartProcess, World, WorldOptions, eventually};

const PATIENCE: Duration = Duration::from_mins(2);
const QUIET: Duration = Duration::from_secs(10);

async fn world(name: &str) -> World {
    World::start(name, WorldOptions::PODS).await
}

/// No flight is open: what was to be done is done.
async fn idle(world: &World) {
    let bus = world.bus().await;
    eventually("no flight is open", PATIENCE, || async {
        let open = bus.open().await;
        if open == 0 { Ok(()) } else { Err(open) }
    })
    .await;
}

/// Uids of the namespace's pods that are not going away.
async fn pods(objects: &Objects) -> BTreeSet<String> {
    let pods = objects.list("pod").await;
    let staying = pods
        .iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    staying
        .map(|pod| pod["metadata"]["uid"].as_str().unwrap().to_owned())
        .collect()
}

/// The namespace's pods once there are `count`.
async fn pods_are(objects: &Objects, count: usize) -> BTreeSet<String> {
    eventually(&format!("{count} pods"), PATIENCE, || async {
        let pods = pods(objects).await;
        if pods.len() == count {
            Ok(pods)
        } else {
            Err(format!("{pods:?}"))
        }
    })
    .await
}

/// Pod templates of the namespace's Deployments, by name and uid.
async fn templates(objects: &Objects) -> BTreeMap<String, Value> {
    let deployments = objects.list("deployment").await;
    let named = deployments.into_iter().map(|deployment| {
        let metadata = &deployment["metadata"];
        let name = format!("{} {}", metadata["name"], metadata["uid"]);
        (name, deployment["spec"]["template"].clone())
    });
    named.collect()
}

async fn scale(world: &World, objects: &Objects, replicas: &str) {
    let replicas = format!("--replicas={replicas}");
    let arguments = ["scale", "papp", "orders", "-n", &objects.namespace];
    let arguments = [arguments.as_slice(), &[&replicas]].concat();
    world.cluster.kubectl(&arguments).await.unwrap();
}

fn secret(namespace: &str, token: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{ name: api-keys, namespace: {namespace} }}
stringData: {{ TOKEN: {token} }}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn scale_and_pause_with_a_rotated_secret_restart_no_pod() {
    let world = world("rotated").await;
    let _parts = world.parts();
    let objects = world.namespace(&["api-keys"]).await;
    world.apply(&secret(&objects.namespace, "first")).await;
    let lines =
        "  replicas: 2\n  secrets: [{ name: api-keys, env: true }]\n  rollout: { drainSeconds: 0 }";
    world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    let before = objects.becomes_ready("orders").await;
    let two = pods_are(&objects, 2).await;
    let template = templates(&objects).await;
    let epoch = before["status"]["references"]["epoch"].as_i64();
    assert!(epoch.is_some(), "{}", before["status"]);

    world.apply(&secret(&objects.namespace, "second")).await;
    scale(&world, &objects, "4").await;
    objects.becomes_ready("orders").await;
    let four = pods_are(&objects, 4).await;
    assert!(two.is_subset(&four), "{two:?} {four:?}");

    for paused in [true, false] {
        world
            .apply(&secret(&objects.namespace, &format!("third-{paused}")))
            .await;
        let spec = json!({"spec": {"paused": paused}});
        objects.patch("papp", "orders", spec).await;
        eventually("the change is seen", PATIENCE, || async {
            let app = objects.get("papp", "orders").await;
            let seen = app["status"]["observedGeneration"] == app["metadata"]["generation"];
            if seen && (app["status"]["phase"] == "Paused") == paused {
                Ok(())
            } else {
                Err(app["status"].to_string())
            }
        })
        .await;
        idle(&world).await;
        assert_eq!(pods(&objects).await, four, "paused: {paused}");
    }

    scale(&world, &objects, "3").await;
    objects.becomes_ready("orders").await;
    let three = pods_are(&objects, 3).await;
    assert!(three.is_subset(&four), "{three:?} {four:?}");
    throughout("nothing follows", QUIET, || async {
        let now = pods(&objects).await;
        if now == three {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    assert_eq!(
        templates(&objects).await,
        template,
        "one revision, untouched"
    );
    let after = objects.get("papp", "orders").await;
    assert_eq!(after["status"]["stable"], before["status"]["stable"]);

    // What is asked for does roll: the Secret was rotated indeed.
    let restart = json!({"spec": {"restart": "now"}});
    objects.patch("papp", "orders", restart).await;
    let app = eventually("the restart is released", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        ready(&app)?;
        if app["status"]["stable"] == before["status"]["stable"] {
            return Err("old".to_owned());
        }
        Ok(app)
    })
    .await;
    assert!(app["status"]["references"]["epoch"].as_i64() > epoch);
    eventually("all pods are new", PATIENCE, || async {
        let now = pods(&objects).await;
        if now.len() == 3 && now.is_disjoint(&four) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

/// The parts, with a planner of another build.
fn parts(world: &World, variant: &str) -> Vec<PartProcess> {
    let environment = vec![("SIGNALBOX_PLANNER_VARIANT", variant.into())];
    vec![
        world.part(Part::Watcher),
        world.part_with(Part::Planner, &[], environment),
        world.part(Part::Executor),
    ]
}

/// All parts end in order, and start again with a planner of another build.
async fn upgrade(world: &World, mut old: Vec<PartProcess>, variant: &str) -> Vec<PartProcess> {
    for part in &mut old {
        part.terminate().await;
    }
    drop(old);
    parts(world, variant)
}

/// What the changed renderer adds to a pod template.
fn mark(template: &Value) -> &Value {
    &template["metadata"]["annotations"]["example.com/renderer"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_with_a_changed_renderer_restarts_no_pod() {
    const APPS: usize = 10;
    let world = world("renderer").await;
    let running = parts(&world, "released");
    let objects = world.namespace(&[]).await;
    let names: Vec<String> = (0..APPS).map(|n| format!("app-{n}")).collect();
    let documents: Vec<String> = names
        .iter()
        .map(|name| minimal(&objects.namespace, name, "example/orders:1"))
        .collect();
    world.apply(&documents.join("---")).await;
    for name in &names {
        objects.becomes_ready(name).await;
    }
    idle(&world).await;
    let (old_pods, old_templates) = (pods(&objects).await, templates(&objects).await);
    assert_eq!((old_pods.len(), old_templates.len()), (APPS, APPS));

    let audit = world.audit();
    let begun = audit.mark();
    let running = upgrade(&world, running, "changed-renderer").await;
    // A new app is built by the new renderer; once it is there, the new planner is at work.
    let fresh = minimal(&objects.namespace, "fresh", "example/orders:1");
    world.apply(&fresh).await;
    let app = objects.becomes_ready("fresh").await;
    let revision = app["status"]["stable"].as_str().unwrap();
    let fresh = format!("fresh-{revision}");
    let built = objects.get("deployment", &fresh).await;
    assert_eq!(mark(&built["spec"]["template"]), "changed", "{built}");
    idle(&world).await;
    throughout("the others are left alone", QUIET, || async {
        let writes = audit.writes_since(begun);
        let other = writes.iter().find(|w| !w.name.starts_with("fresh"));
        other.map_or(Ok(()), |write| Err(format!("{write:?}")))
    })
    .await;
    assert!(old_pods.is_subset(&pods(&objects).await), "no restart");

    // Repaired and scaled, an old revision is still what its own renderer made of it.
    let old = objects.get("papp", "app-0").await["status"]["stable"].clone();
    let old = format!("app-0-{}", old.as_str().unwrap());
    let intact = objects.get("deployment", &old).await["spec"]["template"].clone();
    let edit = json!({"spec": {"template": {"metadata": {"annotations": {"edited": "yes"}}}}});
    objects.patch("deployment", &old, edit).await;
    eventually("the edit is undone", PATIENCE, || async {
        let now = objects.get("deployment", &old).await["spec"]["template"].clone();
        if now == intact {
            Ok(())
        } else {
            Err(now["metadata"].to_string())
        }
    })
    .await;
    let two = json!({"spec": {"replicas": 2}});
    objects.patch("papp", "app-1", two).await;
    objects.becomes_ready("app-1").await;
    let now = templates(&objects).await;
    for (name, template) in &old_templates {
        assert_eq!(now.get(name), Some(template), "{name}");
    }

    // Back to the released build, which does not know the other renderer: it leaves the pods alone.
    idle(&world).await;
    let now_pods = pods_are(&objects, APPS + 2).await;
    let begun = audit.mark();
    let _running = upgrade(&world, running, "released").await;
    let image = json!({"spec": {"image": "example/orders:2", "rollout": {"drainSeconds": 0}}});
    objects.patch("papp", "app-2", image).await;
    eventually("the released build is at work", PATIENCE, || async {
        let app = objects.get("papp", "app-2").await;
        ready(&app)?;
        let revision = app["status"]["stable"].as_str().unwrap();
        let deployment = objects
            .get("deployment", &format!("app-2-{revision}"))
            .await;
        let template = &deployment["spec"]["template"];
        if template["spec"]["containers"][0]["image"] == "example/orders:2" {
            assert!(mark(template).is_null(), "{template}");
            return Ok(());
        }
        Err("old".to_owned())
    })
    .await;
    throughout("the others are left alone", QUIET, || async {
        let writes = audit.writes_since(begun);
        let other = writes.iter().find(|w| !w.name.starts_with("app-2"));
        other.map_or(Ok(()), |write| Err(format!("{write:?}")))
    })
    .await;
    assert_eq!(
        objects.get("deployment", &fresh).await["spec"]["template"],
        built["spec"]["template"]
    );
    eventually(
        "only the pod of the new image's app goes",
        PATIENCE,
        || async {
            let now = pods(&objects).await;
            let gone: Vec<_> = now_pods.difference(&now).collect();
            if gone.len() == 1 && now.len() == now_pods.len() {
                Ok(())
            } else {
                Err(format!("{gone:?}"))
            }
        },
    )
    .await;
}
