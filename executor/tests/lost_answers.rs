//! Writes whose answer is lost are read back: found done, never done twice.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the test"
)]

#[path = "support/proxy.rs"]
mod proxy;
mod support;

use proxy::Proxy;
use serde_json::{Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_common::rights::Component;
use signalbox_common::wire::action::{ApplyMode, EmitEvent};
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::{Action, PlannedAction};
use support::{
    Bench, action, apply, configured, delete, deployment, done, mode_apply, mode_replace,
    patch_status, scale, version,
};

async fn through_proxy(name: &str) -> (Bench, Proxy) {
    let mut bench = Bench::start(name).await;
    bench.end().await;
    let api = bench.cluster.api_url();
    let proxy = Proxy::start(api.clone()).await;
    let path = bench
        .cluster
        .kubeconfig(&Component::Executor.user())
        .unwrap();
    let kubeconfig = std::fs::read_to_string(path).unwrap();
    assert!(kubeconfig.contains(&api));
    let path = bench.cluster.dir().join("through-proxy");
    std::fs::write(&path, kubeconfig.replace(&api, &proxy.url)).unwrap();
    bench.args.kubeconfig = Some(path);
    bench.begin();
    (bench, proxy)
}

fn map(app: &Value, value: &str) -> Value {
    configured(
        app,
        ChildKind::ConfigMap,
        "web",
        &json!({"data": {"k": value}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_found_done() {
    let (mut bench, proxy) = through_proxy("lost").await;
    let app = bench.app("web").await;
    // A connection that is there already: what is lost below is an answer, not a handshake.
    let first = apply(
        ChildKind::Deployment,
        deployment(&app, "web-1"),
        ApplyMode::Create,
    );
    assert_eq!(
        done(&bench.run(&app, vec![first]).await),
        [ActionResult::Done]
    );

    let lost = async |planned: PlannedAction| {
        proxy.swallow_next_answer();
        let outcome = bench.run(&app, vec![planned]).await;
        assert_eq!(done(&outcome), [ActionResult::FoundDone], "{outcome:?}");
        assert!(proxy.swallowed());
        outcome
    };
    let outcome = lost(apply(
        ChildKind::ConfigMap,
        map(&app, "1"),
        ApplyMode::Create,
    ))
    .await;
    let live = bench.live("configmap", "web").await;
    assert_eq!(outcome.written[0].resource_version, version(&live));

    lost(apply(
        ChildKind::ConfigMap,
        map(&app, "2"),
        mode_apply(&live),
    ))
    .await;
    let live = bench.live("configmap", "web").await;
    assert_eq!(live["data"]["k"], "2");

    let seen = bench.live("portfolioapp", "web").await;
    lost(patch_status(&seen, json!({"phase": "Ready"}))).await;
    assert_eq!(
        bench.live("portfolioapp", "web").await["status"]["phase"],
        "Ready"
    );

    let seen = bench.live("deployment", "web-1").await;
    lost(scale(&seen, 0, 3)).await;
    assert_eq!(
        bench.live("deployment", "web-1").await["spec"]["replicas"],
        3
    );

    let event = EmitEvent {
        warning: false,
        reason: "Promoted".to_owned(),
        action: "Promote".to_owned(),
        note: "done".to_owned(),
    };
    lost(action("event", Action::EmitEvent(event))).await;

    let outcome = lost(delete(ChildKind::ConfigMap, &live)).await;
    assert!(outcome.written[0].deleted);
    assert!(bench.get("configmap", "web").await.is_none());

    // A replacement reads first: the lost answer is that of the read, and nothing was written.
    let create = apply(ChildKind::ConfigMap, map(&app, "3"), ApplyMode::Create);
    assert_eq!(
        done(&bench.run(&app, vec![create]).await),
        [ActionResult::Done]
    );
    let live = bench.live("configmap", "web").await;
    proxy.swallow_next_answer();
    let replace = apply(ChildKind::ConfigMap, map(&app, "4"), mode_replace(&live));
    let outcome = bench.run(&app, vec![replace]).await;
    let class = support::failure(&outcome).class;
    assert_eq!(class, signalbox_common::class::ErrorClass::Transient);
    assert_eq!(bench.live("configmap", "web").await, live);
    bench.end().await;
}
