//! A child that exists is brought to its whole configuration by a forced, fenced server-side apply.
//!
//! Also judges whether an object fits its action at all; nothing else is ever sent.

use serde_json::{Map, Value};
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::ApplyChild;
use signalbox_common::wire::plan::Guard;
use signalbox_crds::names::LABEL_OWNER_UID;

use super::Fence;
use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use signalbox_common::json;

/// Applies a child.
pub(super) async fn apply(
    ctx: &PlanContext,
    guards: &[Guard],
    child: &ApplyChild,
    fence: Fence<'_>,
) -> Result<Applied, ActionError> {
    let apply = Apply {
        target: target(ctx, child)?,
        child,
        fence,
    };
    conflict::write(ctx, guards, &apply).await
}

struct Apply<'a> {
    target: Target,
    child: &'a ApplyChild,
    fence: Fence<'a>,
}

impl Fenced for Apply<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        self.fence.uid
    }
    fn seen_version(&self) -> &str {
        self.fence.resource_version
    }
    fn how(&self) -> How {
        How::Apply
    }
    fn body(&self, version: &str, _live: Option<&Value>) -> Result<Value, ActionError> {
        Ok(body(
            &self.target,
            self.child,
            Some(self.fence.uid),
            version,
        ))
    }
    fn unchanged(&self, live: &Value) -> bool {
        self.fence.rests_on(live)
    }
    fn is_done(&self, live: &Value) -> bool {
        // The configuration's hash is an annotation of it, so also removed fields are seen.
        json::contains(Some(live), &self.child.object) && !conflict::is_terminating(live)
    }
}

/// The configuration with its namespace, fenced.
pub(super) fn body(target: &Target, child: &ApplyChild, uid: Option<&str>, version: &str) -> Value {
    let mut object = child.object.clone();
    if let Some(fields) = object.as_object_mut() {
        let metadata = fields
            .entry("metadata")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("namespace".to_owned(), target.namespace.clone().into());
            metadata.insert("resourceVersion".to_owned(), version.into());
            if let Some(uid) = uid {
                metadata.insert("uid".to_owned(), uid.into());
            }
        }
    }
    object
}

/// Where a child goes, if its object fits the action and the plan.
pub(super) fn target(ctx: &PlanContext, child: &ApplyChild) -> Result<Target, ActionError> {
    match misfit(child, &ctx.key.namespace, &ctx.uid) {
        None => Ok(Target::child(child.kind, &ctx.key.namespace, &child.name)),
        Some(why) => {
            let message = format!("refused to send {} {}: {why}", child.kind, child.name);
            Err(ActionError::new(ErrorClass::Invalid, message))
        }
    }
}

/// Why an object does not fit its action.
fn misfit(child: &ApplyChild, namespace: &str, owner: &str) -> Option<&'static str> {
    let text = |pointer: &str| child.object.pointer(pointer).and_then(Value::as_str);
    if !is_name(&child.name) || text("/metadata/name") != Some(&child.name) {
        return Some("its name is another one");
    }
    if text("/kind") != Some(child.kind.as_str())
        || text("/apiVersion") != Some(&child.kind.api_version())
    {
        return Some("its kind or apiVersion is another one");
    }
    if text("/metadata/namespace").is_some_and(|own| own != namespace) {
        return Some("its namespace is another one");
    }
    for fence in [
        "/metadata/uid",
        "/metadata/resourceVersion",
        "/metadata/managedFields",
    ] {
        if child.object.pointer(fence).is_some() {
            return Some("it has a uid, resourceVersion or managedFields of its own");
        }
    }
    let label = child
        .object
        .pointer("/metadata/labels")
        .and_then(|l| l.get(LABEL_OWNER_UID));
    let owners = child
        .object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let referred = owners.is_some_and(|list| {
        list.iter()
            .any(|o| o.get("uid").and_then(Value::as_str) == Some(owner))
    });
    let labelled = label.and_then(Value::as_str) == Some(owner);
    (!referred && !labelled).then_some("it does not name the plan's object as its owner")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use signalbox_common::kinds::ChildKind;
    use signalbox_common::wire::action::ApplyMode;

    fn child(object: Value) -> ApplyChild {
        ApplyChild {
            kind: ChildKind::ConfigMap,
            name: "web".to_owned(),
            mode: ApplyMode::Create,
            object,
        }
    }

    fn fitting() -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "web", "ownerReferences": [{"uid": "owner"}]},
        })
    }

    #[test]
    fn only_what_fits_the_plan_is_sent() {
        assert_eq!(misfit(&child(fitting()), "n", "owner"), None);
        for (pointer, value) in [
            ("/kind", json!("Secret")),
            ("/apiVersion", json!("v2")),
            ("/metadata/name", json!("other")),
            ("/metadata/ownerReferences", json!([{"uid": "another"}])),
        ] {
            let mut object = fitting();
            *object.pointer_mut(pointer).unwrap() = value;
            assert!(misfit(&child(object), "n", "owner").is_some(), "{pointer}");
        }
        for (field, value) in [
            ("namespace", "other"),
            ("uid", "u"),
            ("resourceVersion", "1"),
        ] {
            let mut object = fitting();
            object["metadata"][field] = json!(value);
            assert!(misfit(&child(object), "n", "owner").is_some(), "{field}");
        }
    }

    #[test]
    fn a_claim_that_outlives_its_app_is_owned_by_label() {
        let mut object = fitting();
        object["metadata"] = json!({"name": "web", "labels": {LABEL_OWNER_UID: "owner"}});
        assert_eq!(misfit(&child(object), "n", "owner"), None);
    }
}
