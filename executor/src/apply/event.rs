//! A Kubernetes Event about the plan's object; its name comes from the step's id, so it exists once.

use serde_json::{Value, json};
use signalbox_common::clock;
use signalbox_common::id::StepId;
use signalbox_common::wire::action::EmitEvent;
use signalbox_common::wire::outcome::ActionResult;
use signalbox_crds::condition::clip;
use signalbox_crds::names::ANNOTATION_RECONCILE;

use crate::api::{Target, Write};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// Who reports.
const CONTROLLER: &str = "signalbox.dev/executor";

/// Creates an Event.
pub(super) async fn emit(
    ctx: &PlanContext,
    event: &EmitEvent,
    step: StepId,
) -> Result<Applied, ActionError> {
    let target = Target::event(&ctx.key.namespace, &name(&ctx.key.name, step));
    let body = body(ctx, event, &target);
    let mut written = ctx.api.write(&target, Write::Post(&body)).await;
    // It is read back by sending it once more: its name makes that harmless.
    if written.as_ref().is_err_and(|err| err.unanswered) && ctx.api.may_retry() {
        written = ctx.api.write(&target, Write::Post(&body)).await;
    }
    match written {
        Ok(_) => Ok(Applied {
            result: ActionResult::Done,
            written: Vec::new(),
            exact: true,
        }),
        Err(err) if err.code == Some(409) => Ok(Applied::found_done()),
        Err(err) => Err(err),
    }
}

/// `<object>.<first 16 hex of the step id>`
fn name(object: &str, step: StepId) -> String {
    let id = step.0.simple().to_string();
    format!("{}.{}", clip(object, 230), id.get(..16).unwrap_or_default())
}

fn body(ctx: &PlanContext, event: &EmitEvent, target: &Target) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": target.name,
            "namespace": target.namespace,
            "annotations": { ANNOTATION_RECONCILE: ctx.reconcile_id.to_string() },
        },
        "eventTime": format!("{:.6}", clock::now()),
        "type": if event.warning { "Warning" } else { "Normal" },
        "reason": clip(&event.reason, 128),
        "action": clip(&event.action, 128),
        "note": clip(&event.note, 1024),
        "reportingController": CONTROLLER,
        "reportingInstance": clip(&ctx.instance, 128),
        "regarding": {
            "apiVersion": format!("{}/{}", signalbox_crds::GROUP, signalbox_crds::VERSION),
            "kind": ctx.key.kind.as_str(),
            "namespace": ctx.key.namespace,
            "name": ctx.key.name,
            "uid": ctx.uid,
        },
    })
}
