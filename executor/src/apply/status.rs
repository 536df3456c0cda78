//! Merge patch of the object's status; tried again while the status is the one that was seen.
//!
//! A change of spec under way does not refuse it: the status says which generation it judged.

use serde_json::{Value, json};
use signalbox_common::digest;
use signalbox_common::wire::action::PatchStatus;
use signalbox_common::wire::plan::Guard;

use crate::api::Target;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use signalbox_common::json;

/// Patches the status of the plan's object.
pub(super) async fn patch(
    ctx: &PlanContext,
    guards: &[Guard],
    patch: &PatchStatus,
) -> Result<Applied, ActionError> {
    let target = Target::object(ctx.key.kind, &ctx.key.namespace, &ctx.key.name).sub("status");
    conflict::write(
        ctx,
        guards,
        &Status {
            target,
            uid: &ctx.uid,
            patch,
        },
    )
    .await
}

struct Status<'a> {
    target: Target,
    uid: &'a str,
    patch: &'a PatchStatus,
}

impl Fenced for Status<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        self.uid
    }
    fn seen_version(&self) -> &str {
        &self.patch.resource_version
    }
    fn how(&self) -> How {
        How::Merge
    }
    fn body(&self, version: &str, _live: Option<&Value>) -> Result<Value, ActionError> {
        Ok(json!({
            "metadata": { "uid": self.uid, "resourceVersion": version },
            "status": self.patch.status,
        }))
    }
    fn unchanged(&self, live: &Value) -> bool {
        is_seen(live, &self.patch.seen)
    }
    fn is_done(&self, live: &Value) -> bool {
        json::is_merged(live.get("status"), &self.patch.status)
    }
}

/// Whether a live object's status is the one whose digest was seen.
pub(crate) fn is_seen(live: &Value, seen: &str) -> bool {
    let digest = |status: Option<&Value>| digest::of_json(status.unwrap_or(&Value::Null));
    digest(live.get("status")) == seen
        || conflict::trimmed(live).is_some_and(|l| digest(l.content.get("status")) == seen)
}
