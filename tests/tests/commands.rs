//! The command line on real objects: the tree, once and watched; exit codes for CI; the timeline; as a plugin of kubectl.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use signalbox_devcluster::Tool;
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::stable;
use signalbox_tests::parts::program;
use signalbox_tests::shared::Shared;
use signalbox_tests::{Objects, Slot, WorldOptions, eventually};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const SOON: Duration = Duration::from_secs(30);

async fn shared() -> Arc<Shared> {
    static SLOT: Slot = Slot::new();
    SLOT.world("commands", WorldOptions::PODS).await
}

/// An app whose canary stands at half of its pods until it is told to go on; with its two revisions.
async fn canary(shared: &Shared, objects: &Objects) -> (String, String) {
    let lines = "  replicas: 4\n  rollout: { steps: [{ weight: 50, pauseSeconds: 3600 }], drainSeconds: 0 }";
    let document = app(&objects.namespace, "orders", "example/orders:1", lines);
    shared.world.apply(&document).await;
    let first = stable(&objects.becomes_ready("orders").await);
    let next = json!({"spec": {"image": "example/orders:2"}});
    objects.patch("papp", "orders", next).await;
    let second = eventually("the canary has its pods", SOON, || async {
        let app = objects.get("papp", "orders").await;
        let rollout = &app["status"]["rollout"];
        // Also those that made room for it are gone.
        let pods = objects.list("pod").await.len();
        if rollout["stepReachedAt"].is_string() && rollout["weight"] == 50 && pods == 4 {
            Ok(rollout["revision"].as_str().unwrap().to_owned())
        } else {
            Err(format!("{pods} pods {}", app["status"]))
        }
    })
    .await;
    (first, second)
}

#[tokio::test]
async fn the_tree_shows_both_revisions_of_a_canary_and_watch_draws_each_change() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let (first, second) = canary(&shared, &objects).await;
    let space = objects.namespace.as_str();
    let (code, tree) = shared
        .world
        .signalbox(&["get", "orders", "-n", space])
        .await;
    assert_eq!(code, Some(0), "{tree}");
    let line = |words: &[&str]| {
        let found = tree
            .lines()
            .any(|l| words.iter().all(|word| l.contains(word)));
        assert!(found, "no line with {words:?}:\n{tree}");
    };
    line(&["orders", "PortfolioApp", "Progressing"]);
    line(&[&format!("revision {first}"), "stable"]);
    line(&[&format!("revision {second}"), "canary"]);
    line(&[
        &format!("orders-{second}"),
        "Deployment",
        "example/orders:2",
    ]);
    let pods = tree
        .lines()
        .filter(|l| l.contains(" Pod ") && l.contains("ready:1/1"));
    assert_eq!(pods.count(), 4, "{tree}");

    let kubeconfig = shared.world.cluster.kubeconfig("admin").unwrap();
    let mut watching = tokio::process::Command::new(program("signalbox"))
        .args(["get", "orders", "-n", space, "--watch"])
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut drawn = async |words: &[&str]| {
        let told = tokio::time::timeout(SOON, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if words.iter().all(|word| line.contains(word)) {
                    return true;
                }
            }
            false
        });
        let seen = told.await.unwrap_or_default();
        assert!(seen, "never drawn: {words:?}");
    };
    drawn(&[&format!("revision {second}"), "canary"]).await;
    let on = json!({"spec": {"rollout": {"steps": []}}});
    objects.patch("papp", "orders", on).await;
    drawn(&[&format!("revision {second}"), "stable"]).await;
    drawn(&["orders", "PortfolioApp", "Ready"]).await;
    assert!(watching.try_wait().unwrap().is_none(), "it goes on");
}

#[tokio::test]
async fn the_status_is_an_exit_code_for_ci() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let space = objects.namespace.as_str();
    let status = async |arguments: &[&str]| {
        let all = [&["status", "orders", "-n", space], arguments].concat();
        shared.world.signalbox(&all).await
    };
    let (code, text) = status(&[]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("orders") && text.contains(space), "{text}");

    let lines = "  replicas: 2\n  rollout: { progressDeadlineSeconds: 3, drainSeconds: 0 }";
    let document = app(space, "orders", "example/orders:1", lines);
    shared.world.apply(&document).await;
    // At once after the write: the answer is about this generation, never about the one before.
    let (code, text) = status(&["--wait", "--timeout", "2m"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Ready"), "{text}");

    let image = |image: &str| json!({"spec": {"image": image}});
    objects
        .patch("papp", "orders", image("example/bad:2"))
        .await;
    let (code, text) = status(&["--wait", "--timeout", "2m"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.starts_with("RolledBack") && text.contains("within 3 s"),
        "{text}"
    );

    let patient =
        json!({"spec": {"image": "example/bad:3", "rollout": {"progressDeadlineSeconds": 3600}}});
    objects.patch("papp", "orders", patient).await;
    let (code, text) = status(&["--wait", "--timeout", "1s"]).await;
    assert_eq!(code, Some(3), "{text}");
    let (code, text) = status(&[]).await;
    assert_eq!(code, Some(3), "without --wait it is told at once: {text}");
    let (code, text) = status(&["--wait", "--timeout", "soon"]).await;
    assert!(code == Some(2) && text.contains("90s"), "{text}");
}

#[tokio::test]
async fn the_timeline_goes_from_cause_to_effect_in_the_namespace_that_is_meant() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let space = objects.namespace.as_str();
    shared
        .world
        .apply(&minimal(space, "orders", "example/orders:1"))
        .await;
    let revision = stable(&objects.becomes_ready("orders").await);
    let told = eventually("the first flight is recorded to its end", SOON, || async {
        let (code, text) = shared
            .world
            .signalbox(&["timeline", "orders", "-n", space])
            .await;
        if code == Some(0) && text.contains("done") {
            Ok(text)
        } else {
            Err(text)
        }
    })
    .await;
    let at = |word: &str| {
        told.find(word)
            .unwrap_or_else(|| panic!("no {word}:\n{told}"))
    };
    assert!(
        at("spec") < at(&format!("Deployment/orders-{revision}")),
        "{told}"
    );
    assert!(at("ConfigMap/orders") < at("status"), "{told}");

    // Without -n: that of the context, as for every other command.
    let (code, text) = shared.world.signalbox(&["timeline", "orders"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("default") && text.contains("-n NAMESPACE"),
        "{text}"
    );
    let config = shared.world.cluster.kubeconfig("admin").unwrap();
    let own = shared
        .world
        .cluster
        .dir()
        .join(format!("{space}.kubeconfig"));
    std::fs::copy(config, &own).unwrap();
    let own = own.to_str().unwrap();
    let set = [
        "--kubeconfig",
        own,
        "config",
        "set-context",
        "--current",
        "--namespace",
        space,
    ];
    shared.world.cluster.kubectl(&set).await.unwrap();
    let here = ["timeline", "orders", "--kubeconfig", own];
    let (code, text) = shared.world.signalbox(&here).await;
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test]
async fn kubectl_finds_it_as_a_plugin() {
    let shared = shared().await;
    let objects = shared.world.namespace(&[]).await;
    let space = objects.namespace.as_str();
    shared
        .world
        .apply(&minimal(space, "orders", "example/orders:1"))
        .await;
    objects.becomes_ready("orders").await;
    let folder = shared.world.cluster.dir().join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(program("signalbox"), folder.join("kubectl-signalbox")).unwrap();
    let kubectl = shared.world.cluster.tool_path(Tool::Kubectl).unwrap();
    let run = async |arguments: &[&str]| {
        let output = tokio::process::Command::new(kubectl)
            .args(arguments)
            .env("PATH", &folder)
            .env(
                "KUBECONFIG",
                shared.world.cluster.kubeconfig("admin").unwrap(),
            )
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run(&["signalbox", "status", "orders", "-n", space]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Ready"), "{text}");
    let (_, help) = run(&["signalbox", "--help"]).await;
    assert!(help.contains("Usage: kubectl signalbox"), "{help}");
}
