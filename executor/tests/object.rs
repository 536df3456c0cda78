//! Writes on the plan's own object against a real API server: status, spec, finalizer, guards, Events.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the test"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::Action;
use signalbox_common::wire::action::{ApplyMode, EmitEvent, Finalizer, PatchSpec};
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::plan::{Expect, Guard, Test};
use support::{Bench, action, apply, configured, done, failure, patch_status, uid, version};

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_written_while_the_spec_keeps_changing_but_never_over_another_status() {
    let bench = Arc::new(Bench::start("status").await);
    let app = bench.app("web").await;
    let editor = tokio::spawn({
        let bench = bench.clone();
        async move {
            for replicas in 0..20 {
                let patch = format!(r#"{{"spec":{{"replicas":{replicas}}}}}"#);
                let edit = ["patch", "portfolioapp", "web", "--type=merge", "-p", &patch];
                bench.cluster.kubectl(&edit).await.unwrap();
            }
        }
    });
    let mut rounds = 0;
    while !editor.is_finished() {
        let seen = bench.live("portfolioapp", "web").await;
        let status = json!({"observedGeneration": 1, "phase": format!("P{rounds}")});
        let outcome = bench.run(&app, vec![patch_status(&seen, status)]).await;
        assert_eq!(done(&outcome), [ActionResult::Done]);
        rounds += 1;
    }
    editor.await.unwrap();
    assert!(rounds > 1);

    // A stale version with the same status is written; a status that was not seen is not.
    let seen = bench.live("portfolioapp", "web").await;
    bench
        .cluster
        .kubectl(&["label", "portfolioapp", "web", "a=b"])
        .await
        .unwrap();
    let write = |phase: &str| patch_status(&seen, json!({"phase": phase}));
    let outcome = bench.run(&app, vec![write("A")]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    assert!(outcome.written[0].retried);
    let outcome = bench.run(&app, vec![write("B")]).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(outcome.live.unwrap().content["status"]["phase"], "A");

    // An object of the same name with another uid is another object.
    let mut other = app.clone();
    other["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    let now = bench.live("portfolioapp", "web").await;
    let mut stale = now.clone();
    stale["metadata"]["resourceVersion"] = seen["metadata"]["resourceVersion"].clone();
    let outcome = bench
        .run(&other, vec![patch_status(&stale, json!({"phase": "C"}))])
        .await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(bench.live("portfolioapp", "web").await, now);
    Arc::into_inner(bench).unwrap().end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_is_changed_only_where_the_planner_saw_it() {
    let mut bench = Bench::start("spec").await;
    let app = bench.app("web").await;
    let spec = |seen: &Value, from: &str, to: &str| {
        let patch = PatchSpec {
            kind: Kind::PortfolioApp,
            name: "web".to_owned(),
            uid: uid(seen),
            resource_version: version(seen),
            replaces: BTreeMap::from([("/spec/image".to_owned(), json!(from))]),
            spec: json!({"image": to}),
            annotations: BTreeMap::from([("signalbox.dev/trigger".to_owned(), to.to_owned())]),
        };
        action("spec", Action::PatchSpec(patch))
    };
    // Another field changed: written all the same, and not over it.
    let other = r#"{"spec":{"replicas":4}}"#;
    bench
        .cluster
        .kubectl(&["patch", "papp", "web", "--type=merge", "-p", other])
        .await
        .unwrap();
    let outcome = bench
        .run(
            &app,
            vec![spec(&app, "example.com/web:1", "example.com/web:2")],
        )
        .await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    let live = bench.live("portfolioapp", "web").await;
    assert_eq!(
        (&live["spec"]["image"], &live["spec"]["replicas"]),
        (&json!("example.com/web:2"), &json!(4))
    );
    assert_eq!(
        live["metadata"]["annotations"]["signalbox.dev/trigger"],
        "example.com/web:2"
    );
    // The replaced field changed: refused. As wanted already: found done.
    let outcome = bench
        .run(
            &app,
            vec![spec(&app, "example.com/web:1", "example.com/web:3")],
        )
        .await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    let outcome = bench
        .run(
            &app,
            vec![spec(&app, "example.com/web:1", "example.com/web:2")],
        )
        .await;
    assert_eq!(done(&outcome), [ActionResult::FoundDone]);

    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_actions_use_the_version_returned_and_foreign_finalizers_survive() {
    let mut bench = Bench::start("finalizer").await;
    let app = bench.app("web").await;

    // Finalizer, then status on the version that it returned: no try is wasted on a conflict.
    let seen = bench.live("portfolioapp", "web").await;
    let list = |seen: &Value, finalizers: &[&str]| Finalizer {
        resource_version: version(seen),
        finalizers: finalizers.iter().map(|&text| text.to_owned()).collect(),
    };
    let add = action(
        "finalizer",
        Action::AddFinalizer(list(&seen, &["signalbox.dev/finalizer"])),
    );
    let mut status = patch_status(&seen, json!({"phase": "Ready"}));
    status.after = vec!["finalizer".to_owned()];
    let outcome = bench.run(&app, vec![add, status]).await;
    assert_eq!(done(&outcome), [ActionResult::Done; 2]);
    assert!(
        outcome.written.iter().all(|written| !written.retried),
        "{outcome:?}"
    );

    // Somebody adds a finalizer of his own: it survives the removal of ours.
    let seen = bench.live("portfolioapp", "web").await;
    let foreign = r#"{"metadata":{"finalizers":["signalbox.dev/finalizer","example.com/mine"]}}"#;
    bench
        .cluster
        .kubectl(&["patch", "papp", "web", "--type=merge", "-p", foreign])
        .await
        .unwrap();
    bench
        .cluster
        .kubectl(&["delete", "papp", "web", "--wait=false"])
        .await
        .unwrap();
    let remove = || {
        vec![action(
            "finalizer",
            Action::RemoveFinalizer(list(&seen, &[])),
        )]
    };
    assert_eq!(done(&bench.run(&app, remove()).await), [ActionResult::Done]);
    let live = bench.live("portfolioapp", "web").await;
    assert_eq!(live["metadata"]["finalizers"], json!(["example.com/mine"]));
    assert_eq!(
        done(&bench.run(&app, remove()).await),
        [ActionResult::FoundDone]
    );
    let none = r#"{"metadata":{"finalizers":null}}"#;
    bench
        .cluster
        .kubectl(&["patch", "papp", "web", "--type=merge", "-p", none])
        .await
        .unwrap();
    assert_eq!(
        done(&bench.run(&app, remove()).await),
        [ActionResult::FoundDone]
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_are_read_live_and_an_event_exists_once() {
    let mut bench = Bench::start("guards").await;
    let app = bench.app("web").await;
    let map = configured(
        &app,
        ChildKind::ConfigMap,
        "web",
        &json!({"data": {"ready": "no"}}),
    );
    let create = apply(ChildKind::ConfigMap, map, ApplyMode::Create);
    done(&bench.run(&app, vec![create]).await);
    let guarded = bench.live("configmap", "web").await;
    let event = |uid: String| {
        let event = EmitEvent {
            warning: true,
            reason: "RolledBack".to_owned(),
            action: "RollBack".to_owned(),
            note: "the new revision did not become ready".to_owned(),
        };
        let test = Test::Equals(json!("yes"));
        let expect = vec![Expect {
            pointer: "/data/ready".to_owned(),
            test,
        }];
        let guard = Guard {
            kind: "ConfigMap".to_owned(),
            name: "web".to_owned(),
            uid,
            expect,
        };
        let mut planned = action("event", Action::EmitEvent(event));
        planned.guards = vec![guard];
        vec![planned]
    };
    let outcome = bench.run(&app, event(uid(&guarded))).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert!(
        failure(&outcome).message.contains("guard on ConfigMap web"),
        "{outcome:?}"
    );
    let ready = r#"{"data":{"ready":"yes"}}"#;
    bench
        .cluster
        .kubectl(&["patch", "configmap", "web", "-p", ready])
        .await
        .unwrap();
    let outcome = bench.run(&app, event(uid(&app))).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert_eq!(
        done(&bench.run(&app, event(uid(&guarded))).await),
        [ActionResult::Done]
    );
    assert_eq!(
        done(&bench.run(&app, event(uid(&guarded))).await),
        [ActionResult::FoundDone]
    );
    let events = bench
        .cluster
        .kubectl(&["get", "events.events.k8s.io", "-o", "json"])
        .await
        .unwrap();
    let events: Value = serde_json::from_str(&events).unwrap();
    let ours: Vec<&Value> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["reason"] == "RolledBack")
        .collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0]["regarding"]["uid"], json!(uid(&app)));
    assert_eq!(ours[0]["reportingController"], "signalbox.dev/executor");
    assert!(ours[0]["metadata"]["annotations"]["signalbox.dev/reconcile-id"].is_string());
    bench.end().await;
}
