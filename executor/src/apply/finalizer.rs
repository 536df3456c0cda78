//! The finalizer is added or removed; after a conflict the list is computed anew from the live one.
//!
//! Never touches another's finalizer, and never adds one to an object that is going away.

use serde_json::{Value, json};
use signalbox_common::wire::action::Finalizer;
use signalbox_common::wire::plan::Guard;
use signalbox_crds::names::FINALIZER;

use crate::api::Target;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// Adds ours.
pub(super) async fn add(
    ctx: &PlanContext,
    guards: &[Guard],
    list: &Finalizer,
) -> Result<Applied, ActionError> {
    change(ctx, guards, list, true).await
}

/// Removes ours.
pub(super) async fn remove(
    ctx: &PlanContext,
    guards: &[Guard],
    list: &Finalizer,
) -> Result<Applied, ActionError> {
    change(ctx, guards, list, false).await
}

async fn change(
    ctx: &PlanContext,
    guards: &[Guard],
    list: &Finalizer,
    present: bool,
) -> Result<Applied, ActionError> {
    let target = Target::object(ctx.key.kind, &ctx.key.namespace, &ctx.key.name);
    let change = Change {
        target,
        uid: &ctx.uid,
        list,
        present,
    };
    match conflict::write(ctx, guards, &change).await {
        // Without our finalizer the object may be gone at once.
        Err(err) if !present && err.code == Some(404) => Ok(Applied::found_done()),
        other => other,
    }
}

struct Change<'a> {
    target: Target,
    uid: &'a str,
    list: &'a Finalizer,
    present: bool,
}

impl Fenced for Change<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        self.uid
    }
    fn seen_version(&self) -> &str {
        &self.list.resource_version
    }
    fn how(&self) -> How {
        How::Merge
    }
    fn body(&self, version: &str, live: Option<&Value>) -> Result<Value, ActionError> {
        let list = match live {
            None => self.list.finalizers.clone(),
            Some(live) => after(finalizers(live), self.present),
        };
        Ok(json!({
            "metadata": { "uid": self.uid, "resourceVersion": version, "finalizers": list },
        }))
    }
    fn unchanged(&self, live: &Value) -> bool {
        conflict::is_terminating(live) != self.present
    }
    fn is_done(&self, live: &Value) -> bool {
        finalizers(live).iter().any(|f| f == FINALIZER) == self.present
    }
}

fn finalizers(live: &Value) -> Vec<String> {
    let list = live
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The list with or without ours.
fn after(mut list: Vec<String>, present: bool) -> Vec<String> {
    list.retain(|finalizer| finalizer != FINALIZER);
    if present {
        list.push(FINALIZER.to_owned());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_never_touched() {
        let others = vec!["a/x".to_owned(), FINALIZER.to_owned(), "b/y".to_owned()];
        assert_eq!(after(others.clone(), false), ["a/x", "b/y"]);
        assert_eq!(after(others, true), ["a/x", "b/y", FINALIZER]);
    }
}
