//! Children against a real API server: created once, never overwritten blindly, replaced, deleted.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the test"
)]

mod support;

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::Action;
use signalbox_common::wire::action::ApplyMode;
use signalbox_common::wire::outcome::ActionResult;
use support::{
    Bench, apply, configured, delete, deployment, done, failure, mode_apply, mode_replace, scale,
    uid, version,
};

const MANY: ChildKind = ChildKind::ConfigMap;

fn map(app: &Value, name: &str, value: &str) -> Value {
    configured(app, MANY, name, &json!({"data": {"k": value}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_created_once_and_every_change_is_fenced() {
    let mut bench = Bench::start("children").await;
    let app = bench.app("web").await;

    // Created; what was written is told.
    let create = || apply(MANY, map(&app, "web", "1"), ApplyMode::Create);
    let outcome = bench.run(&app, vec![create()]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    let first = bench.live("configmap", "web").await;
    assert_eq!(outcome.written[0].resource_version, version(&first));
    assert_eq!(outcome.trigger.as_deref(), Some("trigger-7"));

    // A late create is refused and harmless; the next plan adopts what is there.
    let outcome = bench.run(&app, vec![create()]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(outcome.live.as_ref().unwrap().uid, uid(&first));
    assert_eq!(bench.live("configmap", "web").await, first);

    // Changed by somebody else: what the planner saw is stale, and its write is refused.
    bench
        .cluster
        .kubectl(&["patch", "configmap", "web", "-p", r#"{"data":{"k":"2"}}"#])
        .await
        .unwrap();
    let second = bench.live("configmap", "web").await;
    let stale = apply(MANY, map(&app, "web", "3"), mode_apply(&first));
    let outcome = bench.run(&app, vec![stale]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(outcome.live.unwrap().resource_version, version(&second));
    assert_eq!(bench.live("configmap", "web").await, second);

    // A change of what the write does not rest on (a foreign annotation) does not refuse it.
    bench
        .cluster
        .kubectl(&["annotate", "configmap", "web", "a=b"])
        .await
        .unwrap();
    let fresh = apply(MANY, map(&app, "web", "3"), mode_apply(&second));
    let outcome = bench.run(&app, vec![fresh]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    assert!(outcome.written[0].retried);
    let third = bench.live("configmap", "web").await;
    assert_eq!(third["data"]["k"], "3");

    // The same again writes nothing.
    let same = apply(MANY, map(&app, "web", "3"), mode_apply(&third));
    let outcome = bench.run(&app, vec![same]).await;
    assert_eq!(done(&outcome), [ActionResult::FoundDone]);
    assert!(outcome.written.is_empty());

    // Another uid, or an object that is gone: refused, nothing is resurrected.
    let mode = ApplyMode::Apply {
        uid: uid(&app),
        resource_version: version(&third),
        seen: None,
    };
    let outcome = bench
        .run(&app, vec![apply(MANY, map(&app, "web", "4"), mode)])
        .await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(outcome.live.unwrap().uid, uid(&third));
    bench
        .cluster
        .kubectl(&["delete", "configmap", "web"])
        .await
        .unwrap();
    let gone = apply(MANY, map(&app, "web", "5"), mode_apply(&third));
    let outcome = bench.run(&app, vec![gone]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert!(bench.get("configmap", "web").await.is_none());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_never_touched_and_what_does_not_fit_is_never_sent() {
    let mut bench = Bench::start("foreign").await;
    let app = bench.app("web").await;
    bench
        .cluster
        .kubectl(&["create", "configmap", "taken", "--from-literal=a=b"])
        .await
        .unwrap();
    let foreign = bench.live("configmap", "taken").await;

    let create = apply(MANY, map(&app, "taken", "1"), ApplyMode::Create);
    let outcome = bench.run(&app, vec![create]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::NameTaken);
    assert_eq!(outcome.live.unwrap().uid, uid(&foreign));
    assert_eq!(bench.live("configmap", "taken").await, foreign);

    for (pointer, value) in [
        ("/kind", json!("Secret")),
        ("/metadata/name", json!("other")),
        ("/metadata/ownerReferences", json!([])),
    ] {
        let mut object = map(&app, "misfit", "1");
        *object.pointer_mut(pointer).unwrap() = value;
        let mut planned = apply(MANY, object, ApplyMode::Create);
        if let Action::ApplyChild(child) = &mut planned.action {
            "misfit".clone_into(&mut child.name);
        }
        let outcome = bench.run(&app, vec![planned]).await;
        assert_eq!(failure(&outcome).class, ErrorClass::Invalid, "{pointer}");
    }
    let mut elsewhere = map(&app, "misfit", "1");
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    let outcome = bench
        .run(&app, vec![apply(MANY, elsewhere, ApplyMode::Create)])
        .await;
    assert_eq!(failure(&outcome).class, ErrorClass::Invalid);

    // After a failure nothing that depends on it is tried.
    let first = apply(MANY, map(&app, "taken", "1"), ApplyMode::Create);
    let mut second = apply(MANY, map(&app, "after", "1"), ApplyMode::Create);
    second.after = vec![first.key.clone()];
    let outcome = bench.run(&app, vec![first, second]).await;
    let results: Vec<ActionResult> = outcome.actions.iter().map(|report| report.result).collect();
    assert_eq!(results, [ActionResult::Failed, ActionResult::Skipped]);
    assert!(bench.get("configmap", "after").await.is_none());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_replaced_and_deleted_as_it_was_seen() {
    let mut bench = Bench::start("replace").await;
    let app = bench.app("web").await;
    let port = |port: i64| json!({"name": format!("p{port}"), "port": port, "protocol": "TCP", "targetPort": port});
    let service = |ports: Vec<Value>| {
        let spec = json!({"type": "NodePort", "selector": {"a": "b"}, "ports": ports});
        configured(&app, ChildKind::Service, "web", &json!({"spec": spec}))
    };
    let create = apply(
        ChildKind::Service,
        service(vec![port(80)]),
        ApplyMode::Create,
    );
    assert_eq!(
        done(&bench.run(&app, vec![create]).await),
        [ActionResult::Done]
    );
    let first = bench.live("service", "web").await;

    // A foreign port goes by a replacement; addresses and node ports stay.
    let foreign = r#"[{"op":"add","path":"/spec/ports/-","value":{"name":"x","port":99}}]"#;
    let patch = ["patch", "service", "web", "--type=json", "-p", foreign];
    bench.cluster.kubectl(&patch).await.unwrap();
    let edited = bench.live("service", "web").await;
    assert_eq!(edited["spec"]["ports"].as_array().unwrap().len(), 2);
    let late = apply(
        ChildKind::Service,
        service(vec![port(80)]),
        mode_replace(&first),
    );
    let outcome = bench.run(&app, vec![late]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(outcome.live.unwrap().uid, uid(&first));
    let replace = apply(
        ChildKind::Service,
        service(vec![port(80)]),
        mode_replace(&edited),
    );
    assert_eq!(
        done(&bench.run(&app, vec![replace]).await),
        [ActionResult::Done]
    );
    let after = bench.live("service", "web").await;
    assert_eq!(after["spec"], first["spec"]);

    // Deleted as it was seen, once.
    let outcome = bench
        .run(&app, vec![delete(ChildKind::Service, &edited)])
        .await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    let outcome = bench
        .run(&app, vec![delete(ChildKind::Service, &after)])
        .await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    assert!(outcome.written[0].deleted);
    assert!(bench.get("service", "web").await.is_none());
    let outcome = bench
        .run(&app, vec![delete(ChildKind::Service, &after)])
        .await;
    assert_eq!(done(&outcome), [ActionResult::FoundDone]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_scaled_whatever_its_status_does() {
    let mut bench = Bench::start("scale").await;
    let app = bench.app("web").await;
    let create = apply(
        ChildKind::Deployment,
        deployment(&app, "web-1"),
        ApplyMode::Create,
    );
    assert_eq!(
        done(&bench.run(&app, vec![create]).await),
        [ActionResult::Done]
    );

    // Scaling is not refused by a change of status, but by other replicas than were seen.
    let seen = bench.live("deployment", "web-1").await;
    let status = r#"{"status":{"replicas":1}}"#;
    let churn = [
        "patch",
        "deployment",
        "web-1",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ];
    bench.cluster.kubectl(&churn).await.unwrap();
    let outcome = bench.run(&app, vec![scale(&seen, 0, 3)]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    let scaled = bench.live("deployment", "web-1").await;
    assert_eq!(scaled["spec"]["replicas"], 3);
    assert_eq!(outcome.written[0].resource_version, version(&scaled));
    let outcome = bench.run(&app, vec![scale(&seen, 0, 5)]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(
        bench.live("deployment", "web-1").await["spec"]["replicas"],
        3
    );
    bench.end().await;
}
