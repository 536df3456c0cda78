//! The kinds on a real API server: what is accepted, defaulted, refused (and with which words), explained.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::time::Duration;

use signalbox_devcluster::{ClusterOptions, DevCluster, DevClusterError};
use signalbox_tests::eventually;

const MINIMAL: &str = r"
apiVersion: signalbox.dev/v1alpha1
kind: PortfolioApp
metadata: { name: NAME, namespace: default }
spec:
  image: example/web:1
";

async fn cluster(name: &str) -> DevCluster {
    let cluster = DevCluster::start(ClusterOptions::bare(name)).await.unwrap();
    cluster
        .apply(&signalbox_crds::yaml().unwrap())
        .await
        .unwrap();
    eventually("the kinds are served", Duration::from_secs(20), || async {
        cluster.kubectl(&["get", "papp,dbm", "-A"]).await.map(drop)
    })
    .await;
    cluster
}

fn refusal(result: Result<(), DevClusterError>) -> String {
    result.expect_err("it must be refused").to_string()
}

#[tokio::test]
async fn accepted_defaulted_explained() {
    let cluster = cluster("kinds-accepted").await;
    cluster
        .apply(&MINIMAL.replace("NAME", "web"))
        .await
        .unwrap();
    let get = |path: &'static str| {
        let cluster = &cluster;
        async move {
            let template = format!("-o=jsonpath={{{path}}}");
            cluster
                .kubectl(&["get", "papp", "web", "-n", "default", &template])
                .await
                .unwrap()
        }
    };
    assert_eq!(get(".spec.replicas").await, "1");
    assert_eq!(
        get(".status.observedGeneration").await,
        "-1",
        "an untouched object is in progress"
    );
    assert_eq!(get(".spec.rollout.progressDeadlineSeconds").await, "600");
    assert_eq!(get(".spec.deletion.storage").await, "Retain");
    assert_eq!(get(".spec.terminationGracePeriodSeconds").await, "30");

    // The scale subresource works before any status was written.
    cluster
        .kubectl(&["scale", "papp", "web", "-n", "default", "--replicas=3"])
        .await
        .unwrap();
    assert_eq!(get(".spec.replicas").await, "3");

    let listed = cluster
        .kubectl(&["get", "signalbox", "-n", "default"])
        .await
        .unwrap();
    assert!(
        listed.contains("PHASE") && listed.contains("REVISION"),
        "{listed}"
    );

    // The API server publishes the schemas some time after it serves the kinds.
    for (path, text) in [
        (
            "papp.spec.rollout.steps.pauseSeconds",
            "Seconds to stay at this weight",
        ),
        (
            "dbm.spec.files.phase",
            "Before the release, or after its promotion",
        ),
    ] {
        let patience = Duration::from_mins(1);
        let arguments = ["explain", path];
        let explained = eventually(path, patience, || cluster.kubectl(&arguments)).await;
        assert!(explained.contains(text), "{explained}");
    }
    cluster.stop().await.unwrap();
}

/// Each case: lines added to a minimal app's spec, and what the refusal must say.
const BAD_APPS: &[(&str, &str)] = &[
    ("  replicas: -1", "spec.replicas"),
    ("  replicas: 2000", "spec.replicas"),
    (
        "  ports: [{ name: http, port: 70000 }]",
        "spec.ports[0].port",
    ),
    ("  ports: [{ name: HTTP, port: 80 }]", "spec.ports[0].name"),
    (
        "  ports: [{ name: a, port: 80 }, { name: a, port: 81 }]",
        ".spec.ports: duplicate entries",
    ),
    ("  env: [{ name: '1 x', value: v }]", "spec.env[0].name"),
    ("  configMountPath: relative", "spec.configMountPath"),
    (
        "  configMountPath: /etc/app",
        "spec.configMountPath needs entries in spec.config",
    ),
    (
        "  secrets: [{ name: db }]",
        "needs env: true or a mountPath",
    ),
    (
        "  autoscaling: { minReplicas: 5, maxReplicas: 2 }",
        "minReplicas must not be above maxReplicas",
    ),
    (
        "  disruptionBudget: { minAvailable: '1', maxUnavailable: '1' }",
        "exactly one of minAvailable",
    ),
    ("  disruptionBudget: {}", "exactly one of minAvailable"),
    (
        "  probes: { readiness: { periodSeconds: 5 } }",
        "exactly one of httpGet, tcpSocket and exec",
    ),
    ("  sidecars: [{ name: app, image: x }]", "must not be 'app'"),
    (
        "  storage: { size: big, mountPath: /data }",
        "spec.storage.size",
    ),
    (
        "  rollout: { steps: [{ weight: 50 }, { weight: 20 }] }",
        "weight must not fall",
    ),
    (
        "  rollout: { steps: [{ weight: 0 }] }",
        "spec.rollout.steps[0].weight",
    ),
    (
        "  rollout: { progressDeadlineSeconds: 0 }",
        "spec.rollout.progressDeadlineSeconds",
    ),
    ("  rollout: { strategy: BigBang }", "spec.rollout.strategy"),
    ("  migrations: { name: '' }", "spec.migrations.name"),
    ("  deletion: { storage: Keep }", "spec.deletion.storage"),
    (
        "  unknown: 1",
        ".spec.unknown: field not declared in schema",
    ),
];

#[tokio::test]
async fn a_bad_spec_is_refused_with_the_field() {
    let cluster = cluster("kinds-refused").await;
    let mut wrong = Vec::new();
    for (lines, expected) in BAD_APPS {
        let app = format!("{}{lines}\n", MINIMAL.replace("NAME", "bad"));
        let message = refusal(cluster.apply(&app).await);
        if !message.contains(expected) {
            wrong.push(format!("{lines}\nexpected: {expected}\nsaid: {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let message = refusal(
        cluster
            .apply(&MINIMAL.replace("NAME", &"a".repeat(41)))
            .await,
    );
    assert!(
        message.contains("metadata.name must be a DNS label"),
        "{message}"
    );

    let migration = r"
apiVersion: signalbox.dev/v1alpha1
kind: DatabaseMigration
metadata: { name: bad, namespace: default }
spec:
  target: { urlFrom: { name: db, key: url } }
";
    for (lines, expected) in [
        ("  files: []", "spec.files"),
        ("  files: [{ name: one.sql, sql: x }]", "spec.files[0].name"),
        (
            "  files: [{ name: V1__a.sql }]",
            "needs sql, or spec.configMap",
        ),
        (
            "  files: [{ name: V1__a.sql, sql: x, phase: Later }]",
            "spec.files[0].phase",
        ),
        (
            "  files: [{ name: V1__a.sql, sql: x }]\n  release: { phase: Expand, revision: r }",
            "spec.release is written by the app",
        ),
        (
            "  files: [{ name: V1__a.sql, sql: x }]\n  retry: { maxAttempts: 0 }",
            "spec.retry.maxAttempts",
        ),
    ] {
        let message = refusal(cluster.apply(&format!("{migration}{lines}\n")).await);
        assert!(
            message.contains(expected),
            "{lines}\nexpected: {expected}\nsaid: {message}"
        );
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn what_must_not_change_can_not() {
    let cluster = cluster("kinds-immutable").await;
    let app = format!(
        "{}  storage: {{ size: 1Gi, mountPath: /data }}\n",
        MINIMAL.replace("NAME", "web")
    );
    cluster.apply(&app).await.unwrap();
    let message = refusal(cluster.apply(&app.replace("1Gi", "2Gi")).await);
    assert!(
        message.contains("spec.storage can't be changed"),
        "{message}"
    );
    let patch = r#"[{"op":"remove","path":"/spec/storage"}]"#;
    let removed = cluster
        .kubectl(&[
            "patch",
            "papp",
            "web",
            "-n",
            "default",
            "--type=json",
            "-p",
            patch,
        ])
        .await
        .expect_err("a volume is never dropped silently")
        .to_string();
    assert!(removed.contains("can't be added or removed"), "{removed}");
    cluster.stop().await.unwrap();
}
