//! Fences against a real API server: a child gets a new version and nothing else, and a write that rests on the
//! old one is refused.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the test"
)]

mod support;

use serde_json::{Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::Action;
use signalbox_common::wire::action::{ApplyMode, FenceChild};
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::plan::PlannedAction;
use support::{Bench, action, apply, deployment, done, uid, version};

fn fence(seen: &Value, by: &str) -> PlannedAction {
    let child = FenceChild {
        kind: ChildKind::Deployment,
        name: "web-1".to_owned(),
        uid: uid(seen),
        resource_version: version(seen),
        by: by.to_owned(),
    };
    action("fence/Deployment/web-1", Action::FenceChild(child))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_changes_the_version_and_refuses_what_comes_late() {
    let mut bench = Bench::start("fences").await;
    let app = bench.app("web").await;
    let create = || {
        apply(
            ChildKind::Deployment,
            deployment(&app, "web-1"),
            ApplyMode::Create,
        )
    };
    bench.run(&app, vec![create()]).await;
    let seen = bench.live("deployment", "web-1").await;
    let outcome = bench.run(&app, vec![fence(&seen, "flight-1")]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    let fenced = bench.live("deployment", "web-1").await;
    assert_eq!(outcome.written[0].resource_version, version(&fenced));
    assert_eq!(seen["spec"], fenced["spec"]);
    assert_eq!(
        seen["metadata"]["generation"],
        fenced["metadata"]["generation"]
    );

    // As an executor sends a Scale that hung.
    let late = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "web-1", "namespace": "default", "uid": uid(&seen), "resourceVersion": version(&seen)},
        "spec": {"replicas": 3}});
    let file = bench.cluster.dir().join("late.json");
    std::fs::write(&file, late.to_string()).unwrap();
    let path = "/apis/apps/v1/namespaces/default/deployments/web-1/scale";
    let put = ["replace", "--raw", path, "-f", file.to_str().unwrap()];
    let refused = bench.cluster.kubectl(&put).await.unwrap_err();
    assert!(refused.to_string().contains("Conflict"), "{refused}");
    assert_eq!(bench.live("deployment", "web-1").await, fenced);

    // A version that moves under the fence does not keep it off; the same once more is done already.
    let outcome = bench.run(&app, vec![fence(&seen, "flight-2")]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    let outcome = bench.run(&app, vec![fence(&seen, "flight-2")]).await;
    assert_eq!(done(&outcome), [ActionResult::FoundDone]);

    // What is gone takes no late write.
    let gone = ["delete", "deployment", "web-1", "--wait=true"];
    bench.cluster.kubectl(&gone).await.unwrap();
    let outcome = bench.run(&app, vec![fence(&seen, "flight-3")]).await;
    assert_eq!(done(&outcome), [ActionResult::FoundDone]);
    bench.end().await;
}
