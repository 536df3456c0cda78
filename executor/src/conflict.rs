//! Fenced writes: one try, and after a conflict at most three more, only while what the write rests on
//! is unchanged.
//!
//! Decides what a refusal means. Never widens a write: each try is fenced by uid and resourceVersion,
//! and guards are read again before each.

use serde_json::Value;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::live::LiveObject;
use signalbox_common::wire::outcome::{ActionResult, Written};
use signalbox_common::wire::plan::Guard;
use signalbox_common::wire::trim::trim;

use crate::api::{Target, Write};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use crate::{ambiguous, guards};

/// Tries after the first one.
const RETRIES: u32 = 3;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Server-side apply.
    Apply,
    /// Merge patch.
    Merge,
    /// PUT.
    Put,
}

/// A write that is a compare-and-set on one object.
pub(crate) trait Fenced: Sync {
    /// Where it goes; a conflict is judged by the whole object.
    fn target(&self) -> Target;
    /// Uid of the object.
    fn uid(&self) -> &str;
    /// Resource version that the planner saw.
    fn seen_version(&self) -> &str;
    /// How it is written.
    fn how(&self) -> How;
    /// The body for a version; `live` is the object read behind a conflict.
    fn body(&self, version: &str, live: Option<&Value>) -> Result<Value, ActionError>;
    /// Whether the live object (same uid) is still what the write rests on.
    fn unchanged(&self, live: &Value) -> bool;
    /// Whether the live object (same uid) is as the write would leave it.
    fn is_done(&self, live: &Value) -> bool;
}

/// What came of one try that was refused.
enum Refused {
    /// Try again on this object.
    Again(Value),
    /// It is done.
    Found(Applied),
}

/// Writes, judging conflicts and lost answers.
pub(crate) async fn write(
    ctx: &PlanContext,
    guards: &[Guard],
    fenced: &dyn Fenced,
) -> Result<Applied, ActionError> {
    write_from(ctx, guards, fenced, None).await
}

/// The same, for who has read the object already.
pub(crate) async fn write_from(
    ctx: &PlanContext,
    guards: &[Guard],
    fenced: &dyn Fenced,
    mut live: Option<Value>,
) -> Result<Applied, ActionError> {
    let target = fenced.target();
    let mut version = match &live {
        Some(object) => version_of(object).to_owned(),
        None => ctx.version(target.kind, &target.name, fenced.seen_version()),
    };
    let mut tries = 0;
    loop {
        guards::hold(ctx, guards).await?;
        let body = fenced.body(&version, live.as_ref())?;
        let write = match fenced.how() {
            How::Apply => Write::Apply(&body),
            How::Merge => Write::Merge(&body),
            How::Put => Write::Put(&body),
        };
        let err = match ctx.api.write(&target, write).await {
            Ok(object) => {
                let exact = fenced.is_done(&object);
                return Ok(applied(&target, &object, &version, tries > 0, exact));
            }
            Err(err) => err,
        };
        if err.unanswered {
            return ambiguous::read_back(ctx, fenced, err).await;
        }
        match judge(ctx, fenced, err, tries).await? {
            Refused::Found(applied) => return Ok(applied),
            Refused::Again(object) => {
                version_of(&object).clone_into(&mut version);
                live = Some(object);
            }
        }
        tries += 1;
    }
}

/// What a refusal means.
async fn judge(
    ctx: &PlanContext,
    fenced: &dyn Fenced,
    err: ActionError,
    tries: u32,
) -> Result<Refused, ActionError> {
    // A wrong uid is 422 for an apply; a missing object 404 for a patch or a PUT.
    let Some(code @ (404 | 409 | 422)) = err.code else {
        return Err(err);
    };
    let target = fenced.target().whole();
    let Some(live) = ctx.api.get(&target).await? else {
        return Err(gone(&err));
    };
    let with_live = |err: ActionError| err.with_live(trimmed(&live));
    if uid_of(&live) != fenced.uid() {
        return Err(with_live(ActionError::conflict(format!(
            "{}: another uid",
            err.message
        ))));
    }
    match code {
        422 => return Err(err),
        404 => {
            return Err(ActionError {
                class: ErrorClass::Missing,
                ..err
            });
        }
        _ => {}
    }
    if fenced.is_done(&live) {
        return Ok(Refused::Found(found(&target, &live)));
    }
    if !fenced.unchanged(&live) {
        let message = format!("{}: what it rests on has changed", err.message);
        return Err(with_live(ActionError { message, ..err }));
    }
    if tries >= RETRIES || !ctx.api.may_retry() {
        return Err(with_live(err));
    }
    Ok(Refused::Again(live))
}

/// The object is gone: observed anew.
pub(crate) fn gone(err: &ActionError) -> ActionError {
    let message = format!("{}: it is gone", err.message);
    ActionError {
        code: Some(404),
        ..ActionError::conflict(message)
    }
}

/// A write that the server confirmed. An unchanged version says that nothing had to be written. `exact`: the answer
/// shows what was to be written; admission of somebody else's may have changed it.
pub(crate) fn applied(
    target: &Target,
    object: &Value,
    sent: &str,
    retried: bool,
    exact: bool,
) -> Applied {
    if version_of(object) == sent {
        return Applied::found_done();
    }
    Applied {
        result: ActionResult::Done,
        written: vec![written(target, object, retried)],
        exact: exact && !retried,
    }
}

/// Done already, with the version found, for the watcher.
pub(crate) fn found(target: &Target, live: &Value) -> Applied {
    Applied {
        result: ActionResult::FoundDone,
        written: vec![written(target, live, true)],
        exact: false,
    }
}

/// What was written, for the watcher. The answer of a scale subresource has the object's own metadata.
pub(crate) fn written(target: &Target, object: &Value, retried: bool) -> Written {
    Written {
        kind: target.kind.to_owned(),
        name: target.name.clone(),
        uid: uid_of(object).to_owned(),
        resource_version: version_of(object).to_owned(),
        deleted: false,
        retried,
    }
}

/// A live object for the Outcome; a Secret never becomes one.
pub(crate) fn trimmed(live: &Value) -> Option<LiveObject> {
    trim(live.clone())
}

/// Uid of an object; empty: it has none.
pub(crate) fn uid_of(object: &Value) -> &str {
    text_at(object, "/metadata/uid")
}

/// Resource version of an object; empty: it has none.
pub(crate) fn version_of(object: &Value) -> &str {
    text_at(object, "/metadata/resourceVersion")
}

/// Whether it is going away.
pub(crate) fn is_terminating(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|at| !at.is_null())
}

fn text_at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
