//! The generated manifests on a real kube-apiserver: they apply, and each identity may do what it must
//! and nothing else.

use signalbox_common::rights::{Component, rbac_yaml, tenant_yaml};
use signalbox_devcluster::{ClusterOptions, DevCluster};

async fn may(cluster: &DevCluster, who: Component, question: &str) -> bool {
    let user = format!("--as={}", who.user());
    let mut words = vec!["auth", "can-i", "--quiet", &user];
    words.extend(question.split(' '));
    // kubectl answers by its exit code.
    cluster.kubectl(&words).await.is_ok()
}

#[tokio::test]
async fn each_identity_may_do_what_it_must_and_nothing_else() {
    let cluster = DevCluster::start(ClusterOptions::bare("rights"))
        .await
        .unwrap();
    cluster
        .apply(&signalbox_crds::yaml().unwrap())
        .await
        .unwrap();
    cluster.apply(&rbac_yaml()).await.unwrap();
    for name in ["shop", "other"] {
        cluster
            .kubectl(&["create", "namespace", name])
            .await
            .unwrap();
    }
    cluster
        .apply(&tenant_yaml("shop", &["shop-db"]))
        .await
        .unwrap();
    let wait = [
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd/portfolioapps.signalbox.dev",
    ];
    cluster.kubectl(&wait).await.unwrap();

    let (watcher, executor, reader) = (Component::Watcher, Component::Executor, Component::Reader);
    for (who, question, expected) in [
        (watcher, "watch portfolioapps.signalbox.dev -A", true),
        (watcher, "list deployments.apps -A", true),
        (
            watcher,
            "update leases.coordination.k8s.io -n signalbox-system",
            true,
        ),
        (watcher, "update leases.coordination.k8s.io -n shop", false),
        (watcher, "patch portfolioapps.signalbox.dev -n shop", false),
        (watcher, "get secrets -n shop", false),
        (
            executor,
            "patch portfolioapps.signalbox.dev/x --subresource=status -n shop",
            true,
        ),
        (
            executor,
            "update deployments.apps/x --subresource=scale -n shop",
            true,
        ),
        (executor, "create events.events.k8s.io -n shop", true),
        (
            executor,
            "create portfolioapps.signalbox.dev -n shop",
            false,
        ),
        (executor, "get secrets/shop-db -n shop", true),
        (executor, "get secrets/else -n shop", false),
        (executor, "list secrets -n shop", false),
        (executor, "get secrets/shop-db -n other", false),
        (executor, "delete namespaces", false),
        (
            Component::Planner,
            "get portfolioapps.signalbox.dev -n shop",
            false,
        ),
        (reader, "list pods -n shop", true),
        (reader, "get configmaps -n shop", false),
        (reader, "patch portfolioapps.signalbox.dev -n shop", false),
    ] {
        assert_eq!(
            may(&cluster, who, question).await,
            expected,
            "{who:?}: {question}"
        );
    }
    cluster.stop().await.unwrap();
}
