//! PUT of a Deployment's scale subresource; tried again while its replicas are those that were seen.

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::Scale;
use signalbox_common::wire::plan::Guard;

use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// Scales a Deployment.
pub(super) async fn scale(
    ctx: &PlanContext,
    guards: &[Guard],
    scale: &Scale,
) -> Result<Applied, ActionError> {
    if !is_name(&scale.name) {
        let message = format!("refused to scale {}: no name", scale.name);
        return Err(ActionError::new(ErrorClass::Invalid, message));
    }
    let target = Target::child(ChildKind::Deployment, &ctx.key.namespace, &scale.name).sub("scale");
    conflict::write(ctx, guards, &ScaleWrite { target, scale }).await
}

struct ScaleWrite<'a> {
    target: Target,
    scale: &'a Scale,
}

impl Fenced for ScaleWrite<'_> {
    fn target(&self) -> Target {
        self.target.clone()
    }
    fn uid(&self) -> &str {
        &self.scale.uid
    }
    fn seen_version(&self) -> &str {
        &self.scale.resource_version
    }
    fn how(&self) -> How {
        How::Put
    }
    fn body(&self, version: &str, _live: Option<&Value>) -> Result<Value, ActionError> {
        Ok(json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": self.scale.name,
                "namespace": self.target.namespace,
                "uid": self.scale.uid,
                "resourceVersion": version,
            },
            "spec": { "replicas": self.scale.to },
        }))
    }
    fn unchanged(&self, live: &Value) -> bool {
        !conflict::is_terminating(live) && replicas(live) == i64::from(self.scale.from)
    }
    fn is_done(&self, live: &Value) -> bool {
        !conflict::is_terminating(live) && replicas(live) == i64::from(self.scale.to)
    }
}

/// Kubernetes' default is 1.
fn replicas(live: &Value) -> i64 {
    live.pointer("/spec/replicas")
        .and_then(Value::as_i64)
        .unwrap_or(1)
}
