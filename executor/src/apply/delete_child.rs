//! A child is deleted, fenced by uid and resourceVersion, in the background.
//!
//! One that is gone, or another one by now, is found done.

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::DeleteChild;
use signalbox_common::wire::outcome::{ActionResult, Written};
use signalbox_common::wire::plan::Guard;

use super::Fence;
use crate::api::target::is_name;
use crate::api::{Target, Write};
use crate::conflict;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use crate::guards;

/// Tries after the first one.
const RETRIES: u32 = 3;

/// Deletes a child.
pub(super) async fn delete(
    ctx: &PlanContext,
    guards: &[Guard],
    child: &DeleteChild,
) -> Result<Applied, ActionError> {
    if !is_name(&child.name) {
        let message = format!("refused to delete {} {}: no name", child.kind, child.name);
        return Err(ActionError::new(ErrorClass::Invalid, message));
    }
    let target = Target::child(child.kind, &ctx.key.namespace, &child.name);
    let mut version = ctx.version(target.kind, &target.name, &child.resource_version);
    let mut tries = 0;
    loop {
        guards::hold(ctx, guards).await?;
        let options = options(&child.uid, &version);
        let Err(err) = ctx.api.write(&target, Write::Delete(&options)).await else {
            return Ok(deleted(child, &version, ActionResult::Done));
        };
        if !matches!(err.code, Some(404 | 409)) && !err.unanswered {
            return Err(err);
        }
        let live = match ctx.api.get(&target).await {
            Ok(live) => live,
            Err(_) if err.unanswered => return Err(err),
            Err(unread) => return Err(unread),
        };
        let Some(live) = live.filter(|live| still_there(live, &child.uid)) else {
            return Ok(deleted(child, &version, ActionResult::FoundDone));
        };
        if err.unanswered {
            return Err(err);
        }
        let fence = Fence {
            uid: &child.uid,
            resource_version: &version,
            seen: child.seen.as_deref(),
        };
        if !fence.rests_on(&live) || tries >= RETRIES || !ctx.api.may_retry() {
            return Err(err.with_live(conflict::trimmed(&live)));
        }
        conflict::version_of(&live).clone_into(&mut version);
        tries += 1;
    }
}

/// The same one, and not on its way out.
fn still_there(live: &Value, uid: &str) -> bool {
    conflict::uid_of(live) == uid && !conflict::is_terminating(live)
}

fn options(uid: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": { "uid": uid, "resourceVersion": version },
    })
}

fn deleted(child: &DeleteChild, version: &str, result: ActionResult) -> Applied {
    let written = Written {
        kind: child.kind.as_str().to_owned(),
        name: child.name.clone(),
        uid: child.uid.clone(),
        resource_version: version.to_owned(),
        deleted: true,
        retried: false,
    };
    Applied {
        result,
        written: vec![written],
        exact: false,
    }
}
