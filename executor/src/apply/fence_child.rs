//! A child gets a new version and nothing else, so that a late write of an earlier plan is refused.
//!
//! One that is gone, or another one by now, takes no late write either: it is found done.

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::FenceChild;
use signalbox_common::wire::plan::Guard;
use signalbox_crds::names::FENCE;

use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use signalbox_common::json;

/// Fences a child.
pub(super) async fn fence(
    ctx: &PlanContext,
    guards: &[Guard],
    child: &FenceChild,
) -> Result<Applied, ActionError> {
    if !is_name(&child.name) {
        let message = format!("refused to fence {} {}: no name", child.kind, child.name);
        return Err(ActionError::new(ErrorClass::Invalid, message));
    }
    let target = Target::child(child.kind, &ctx.key.namespace, &child.name);
    match conflict::write(ctx, guards, &FenceWrite { target, child }).await {
        Err(err) if err.code == Some(404) => Ok(Applied::found_done()),
        other => other,
    }
}

struct FenceWrite<'a> {
    target: Target,
    child: &'a FenceChild,
}

impl FenceWrite<'_> {
    fn labels(&self) -> Value {
        json!({ FENCE: self.child.by })
    }
}

impl Fenced for FenceWrite<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        &self.child.uid
    }
    fn seen_version(&self) -> &str {
        &self.child.resource_version
    }
    fn how(&self) -> How {
        How::Merge
    }
    fn body(&self, version: &str, _live: Option<&Value>) -> Result<Value, ActionError> {
        Ok(json!({ "metadata": {
            "uid": self.child.uid,
            "resourceVersion": version,
            "labels": self.labels(),
        }}))
    }
    // What the late write rests on may be this very version, whoever made it.
    fn unchanged(&self, live: &Value) -> bool {
        !conflict::is_terminating(live)
    }
    fn is_done(&self, live: &Value) -> bool {
        json::contains(live.pointer("/metadata/labels"), &self.labels())
    }
}
