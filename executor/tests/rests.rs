//! What was foreseen behind a plan counts only if the plan left exactly what it was to leave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

mod support;

use serde_json::json;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::ApplyMode;
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::plan::Rest;
use support::{Bench, apply, deployment, done, failure, mode_apply, patch_status, scale};

const REST: Option<Rest> = Some(Rest { until: None });

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_as_it_was_to_be_needs_no_further_look() {
    let mut bench = Bench::start("rests").await;
    let app = bench.app("web").await;

    let create = |cpu: &str, name: &str| {
        let mut object = deployment(&app, name);
        let container = &mut object["spec"]["template"]["spec"]["containers"][0];
        container["resources"] = json!({"requests": {"cpu": cpu}});
        apply(ChildKind::Deployment, object, ApplyMode::Create)
    };
    let outcome = bench.run(&app, vec![create("500m", "web-1")]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    assert_eq!(outcome.rest, REST);

    // The server writes 0.5 as 500m: who applied it is told that there is something else now.
    let outcome = bench.run(&app, vec![create("0.5", "web-2")]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    assert_eq!(outcome.rest, None);

    let seen = bench.live("deployment", "web-1").await;
    let outcome = bench.run(&app, vec![scale(&seen, 0, 2)]).await;
    assert_eq!(outcome.rest, REST);

    // Its version is another by now, so the apply was tried twice and may hide what else has changed.
    let mut object = deployment(&app, "web-1");
    object["spec"]["replicas"] = json!(3);
    let again = apply(ChildKind::Deployment, object.clone(), mode_apply(&seen));
    let outcome = bench.run(&app, vec![again]).await;
    failure(&outcome);
    assert_eq!(outcome.rest, None);
    let seen = bench.live("deployment", "web-1").await;
    let again = apply(ChildKind::Deployment, object, mode_apply(&seen));
    let outcome = bench.run(&app, vec![again.clone()]).await;
    assert_eq!(outcome.rest, REST);

    // Found done: somebody else did it, and may have done more.
    let outcome = bench.run(&app, vec![again]).await;
    assert_eq!(done(&outcome), [ActionResult::FoundDone]);
    assert_eq!(outcome.rest, None);

    // A field that this version of the kind does not have is not stored.
    let seen = bench.live("portfolioapp", "web").await;
    let status = json!({"phase": "Ready", "mood": "good"});
    let outcome = bench.run(&app, vec![patch_status(&seen, status)]).await;
    assert_eq!(done(&outcome), [ActionResult::Done]);
    assert_eq!(outcome.rest, None);
    let seen = bench.live("portfolioapp", "web").await;
    let status = json!({"phase": "Degraded"});
    let outcome = bench.run(&app, vec![patch_status(&seen, status)]).await;
    assert_eq!(outcome.rest, REST);
    bench.end().await;
}
