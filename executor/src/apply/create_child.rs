//! A child is created by a server-side apply with resourceVersion "1": only if it is absent.
//!
//! Decides what an object of the same name means: our own is adopted by the next plan, another's is
//! `NameTaken`. Never tries again by itself.

use serde_json::Value;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::ApplyChild;
use signalbox_common::wire::plan::Guard;

use super::apply_child::{body, target};
use crate::api::{Target, Write};
use crate::conflict;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use crate::guards;
use signalbox_common::json;

/// Only if absent.
const ABSENT: &str = "1";

/// Creates a child.
pub(super) async fn create(
    ctx: &PlanContext,
    guards: &[Guard],
    child: &ApplyChild,
) -> Result<Applied, ActionError> {
    let target = target(ctx, child)?;
    guards::hold(ctx, guards).await?;
    let body = body(&target, child, None, ABSENT);
    match ctx.api.write(&target, Write::Apply(&body)).await {
        Ok(object) => {
            let exact = is_done(child, &object);
            Ok(conflict::applied(&target, &object, "", false, exact))
        }
        Err(err) if err.code == Some(409) || err.unanswered => met(ctx, &target, child, err).await,
        Err(err) => Err(err),
    }
}

/// There may be an object of this name: whose?
async fn met(
    ctx: &PlanContext,
    target: &Target,
    child: &ApplyChild,
    err: ActionError,
) -> Result<Applied, ActionError> {
    let live = match ctx.api.get(target).await {
        Ok(Some(live)) => live,
        // Gone again, or never there: another plan may try.
        Ok(None) => return Err(err),
        Err(unread) if err.unanswered => {
            tracing::debug!(error = %unread, "failed to read back a create");
            return Err(err);
        }
        Err(unread) => return Err(unread),
    };
    let trimmed = conflict::trimmed(&live);
    let ours = trimmed
        .as_ref()
        .is_some_and(|live| live.is_owned_by(&ctx.uid));
    if ours && err.unanswered && is_done(child, &live) {
        return Ok(conflict::found(target, &live));
    }
    let what = format!("{} {} exists already", child.kind, child.name);
    let (class, message) = if conflict::is_terminating(&live) {
        (ErrorClass::Conflict, format!("{what} and is going away"))
    } else if ours {
        (ErrorClass::Conflict, format!("{what} and is ours"))
    } else {
        (
            ErrorClass::NameTaken,
            format!("{what} and belongs to {}", holder(&live)),
        )
    };
    Err(ActionError::new(class, message).with_live(trimmed))
}

fn is_done(child: &ApplyChild, live: &Value) -> bool {
    json::contains(Some(live), &child.object) && !conflict::is_terminating(live)
}

/// Whose it is, for people.
fn holder(live: &Value) -> String {
    let owner = live.pointer("/metadata/ownerReferences/0");
    let text = |field: &str| owner.and_then(|o| o.get(field)).and_then(Value::as_str);
    match (text("kind"), text("name")) {
        (Some(kind), Some(name)) => format!("{kind} {name}"),
        _ => "nobody that is known here".to_owned(),
    }
}
