//! Merge patch of named fields of a spec; tried again while they have the values that were seen.
//!
//! Never touches a field that the plan does not name.

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::PatchSpec;
use signalbox_common::wire::plan::Guard;

use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use signalbox_common::json;

/// Patches the spec of the plan's object, or of one that it is linked with.
pub(super) async fn patch(
    ctx: &PlanContext,
    guards: &[Guard],
    patch: &PatchSpec,
) -> Result<Applied, ActionError> {
    if !is_name(&patch.name) {
        let message = format!("refused to patch {} {}: no name", patch.kind, patch.name);
        return Err(ActionError::new(ErrorClass::Invalid, message));
    }
    let target = Target::object(patch.kind, &ctx.key.namespace, &patch.name);
    conflict::write(ctx, guards, &Spec { target, patch }).await
}

struct Spec<'a> {
    target: Target,
    patch: &'a PatchSpec,
}

impl Fenced for Spec<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        &self.patch.uid
    }
    fn seen_version(&self) -> &str {
        &self.patch.resource_version
    }
    fn how(&self) -> How {
        How::Merge
    }
    fn body(&self, version: &str, _live: Option<&Value>) -> Result<Value, ActionError> {
        let mut metadata = json!({ "uid": self.patch.uid, "resourceVersion": version });
        if let (false, Some(fields)) = (self.patch.annotations.is_empty(), metadata.as_object_mut())
        {
            fields.insert("annotations".to_owned(), json!(self.patch.annotations));
        }
        Ok(json!({ "metadata": metadata, "spec": self.patch.spec }))
    }
    fn unchanged(&self, live: &Value) -> bool {
        !conflict::is_terminating(live)
            && self
                .patch
                .replaces
                .iter()
                .all(|(pointer, seen)| live.pointer(pointer).unwrap_or(&Value::Null) == seen)
    }
    fn is_done(&self, live: &Value) -> bool {
        let annotations = live.pointer("/metadata/annotations");
        json::is_merged(live.get("spec"), &self.patch.spec)
            && json::contains(annotations, &json!(self.patch.annotations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::kinds::Kind;
    use std::collections::BTreeMap;

    #[test]
    fn rests_on_the_replaced_fields_only() {
        let patch = PatchSpec {
            kind: Kind::PortfolioApp,
            name: "web".to_owned(),
            uid: "u".to_owned(),
            resource_version: "1".to_owned(),
            replaces: BTreeMap::from([
                ("/spec/image".to_owned(), json!("a:1")),
                ("/metadata/annotations/x".to_owned(), Value::Null),
            ]),
            spec: json!({"image": "a:2"}),
            annotations: BTreeMap::from([("x".to_owned(), "1".to_owned())]),
        };
        let spec = Spec {
            target: Target::object(patch.kind, "n", "web"),
            patch: &patch,
        };
        let live = json!({"spec": {"image": "a:1", "replicas": 7}});
        assert!(spec.unchanged(&live));
        assert!(!spec.is_done(&live));
        assert!(!spec.unchanged(&json!({"spec": {"image": "a:3"}})));
        let done = json!({"metadata": {"annotations": {"x": "1"}}, "spec": {"image": "a:2"}});
        assert!(spec.is_done(&done));
    }
}
