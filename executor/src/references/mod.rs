//! What an object refers to, as digests in its status: Secrets under a key of the operator, files plainly.
//!
//! Content never leaves this module; names and digests do.

pub(crate) mod keys;
pub(crate) mod secrets;
pub(crate) mod source;

use serde_json::{Value, json};
use signalbox_common::digest;

use crate::api::Target;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// One field of the status of the plan's object.
struct StatusField<'a> {
    target: Target,
    uid: &'a str,
    version: &'a str,
    seen: &'a str,
    name: &'static str,
    value: Value,
}

/// Writes one field of the status; a conflict is tried again while the status is the one that was seen.
async fn write(
    ctx: &PlanContext,
    (version, seen): (&str, &str),
    name: &'static str,
    value: Value,
) -> Result<Applied, ActionError> {
    let target = Target::object(ctx.key.kind, &ctx.key.namespace, &ctx.key.name).sub("status");
    let field = StatusField {
        target,
        uid: &ctx.uid,
        version,
        seen,
        name,
        value,
    };
    conflict::write(ctx, &[], &field).await
}

impl Fenced for StatusField<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        self.uid
    }
    fn seen_version(&self) -> &str {
        self.version
    }
    fn how(&self) -> How {
        How::Merge
    }
    fn body(&self, version: &str, _live: Option<&Value>) -> Result<Value, ActionError> {
        Ok(json!({
            "metadata": { "uid": self.uid, "resourceVersion": version },
            "status": { self.name: self.value },
        }))
    }
    fn unchanged(&self, live: &Value) -> bool {
        digest::of_json(live.get("status").unwrap_or(&Value::Null)) == self.seen
    }
    fn is_done(&self, live: &Value) -> bool {
        live.pointer("/status")
            .and_then(|status| status.get(self.name))
            == Some(&self.value)
    }
}
