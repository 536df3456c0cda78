//! A child is replaced by a PUT: undoes what an apply can't (a list's key, a foreign addition).
//!
//! Decides which fields the server assigned and are carried over from the live object.

use serde_json::{Map, Value};
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::ApplyChild;
use signalbox_common::wire::plan::Guard;

use super::Fence;
use super::apply_child::{body, target};
use crate::api::Target;
use crate::conflict::{self, Fenced, How};
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// Replaces a child.
pub(super) async fn replace(
    ctx: &PlanContext,
    guards: &[Guard],
    child: &ApplyChild,
    fence: Fence<'_>,
) -> Result<Applied, ActionError> {
    let target = target(ctx, child)?;
    let Some(live) = ctx.api.get(&target).await? else {
        let message = format!("{} {} is gone", child.kind, child.name);
        return Err(ActionError::conflict(message));
    };
    let version = ctx.version(target.kind, &target.name, fence.resource_version);
    let current = conflict::uid_of(&live) == fence.uid
        && (conflict::version_of(&live) == version || fence.rests_on(&live));
    if !current {
        let message = format!("{} {} is not the one that was seen", child.kind, child.name);
        return Err(ActionError::conflict(message).with_live(conflict::trimmed(&live)));
    }
    let replace = Replace {
        target,
        child,
        fence,
    };
    conflict::write_from(ctx, guards, &replace, Some(live)).await
}

struct Replace<'a> {
    target: Target,
    child: &'a ApplyChild,
    fence: Fence<'a>,
}

impl Fenced for Replace<'_> {
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
        How::Put
    }
    fn body(&self, version: &str, live: Option<&Value>) -> Result<Value, ActionError> {
        let mut object = body(&self.target, self.child, Some(self.fence.uid), version);
        if let Some(live) = live {
            carry_over(self.child.kind, live, &mut object);
        }
        Ok(object)
    }
    fn unchanged(&self, live: &Value) -> bool {
        self.fence.rests_on(live)
    }
    fn is_done(&self, live: &Value) -> bool {
        // Nothing foreign may be left, so only the very same content counts.
        let mut object = body(&self.target, self.child, None, "");
        carry_over(self.child.kind, live, &mut object);
        !conflict::is_terminating(live) && settings(&object) == settings(live)
    }
}

/// What is set on an object: everything but names and status.
fn settings(object: &Value) -> Option<Value> {
    let mut fields: Map<String, Value> = object.as_object()?.clone();
    for key in ["apiVersion", "kind", "metadata", "status"] {
        fields.remove(key);
    }
    Some(Value::Object(fields))
}

/// Fields that the server assigned at creation and that may not change.
const fn assigned(kind: ChildKind) -> &'static [&'static str] {
    match kind {
        ChildKind::Service => &[
            "clusterIP",
            "clusterIPs",
            "ipFamilies",
            "ipFamilyPolicy",
            "healthCheckNodePort",
            "loadBalancerClass",
        ],
        ChildKind::PersistentVolumeClaim => &[
            "volumeName",
            "storageClassName",
            "volumeMode",
            "dataSource",
            "dataSourceRef",
        ],
        ChildKind::ConfigMap
        | ChildKind::Deployment
        | ChildKind::HorizontalPodAutoscaler
        | ChildKind::PodDisruptionBudget => &[],
    }
}

/// Carries over what the server assigned, where the configuration does not say it itself; status, and
/// the finalizers, stay as they are.
fn carry_over(kind: ChildKind, live: &Value, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if let Some(status) = live.get("status") {
        fields.insert("status".to_owned(), status.clone());
    }
    let kept = live.pointer("/metadata/finalizers");
    if let (Some(kept), Some(metadata)) = (
        kept,
        fields.get_mut("metadata").and_then(Value::as_object_mut),
    ) {
        metadata.insert("finalizers".to_owned(), kept.clone());
    }
    if let Some(spec) = fields.get_mut("spec").and_then(Value::as_object_mut) {
        for field in assigned(kind) {
            if let Some(value) = live.pointer(&format!("/spec/{field}")) {
                spec.entry(*field).or_insert_with(|| value.clone());
            }
        }
        if kind == ChildKind::Service {
            carry_node_ports(live, spec);
        }
    }
}

/// Node ports, by the port that has them.
fn carry_node_ports(live: &Value, spec: &mut Map<String, Value>) {
    let live_ports = live.pointer("/spec/ports").and_then(Value::as_array);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    let (Some(live_ports), Some(ports)) = (live_ports, ports) else {
        return;
    };
    let id = |port: &Value| {
        let protocol = port
            .get("protocol")
            .and_then(Value::as_str)
            .unwrap_or("TCP")
            .to_owned();
        (port.get("port").and_then(Value::as_i64), protocol)
    };
    for port in ports {
        let same = live_ports.iter().find(|live| id(live) == id(port));
        let assigned = same.and_then(|live| live.get("nodePort"));
        if let (Some(assigned), Some(fields)) = (assigned, port.as_object_mut()) {
            fields.entry("nodePort").or_insert_with(|| assigned.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_keeps_its_addresses_and_node_ports_and_loses_foreign_ports() {
        let live = json!({
            "metadata": {"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]},
            "spec": {
                "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"],
                "ports": [{"port": 80, "nodePort": 30001}, {"port": 99, "nodePort": 30002}],
            },
            "status": {"loadBalancer": {}},
        });
        let mut object =
            json!({"metadata": {}, "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
        carry_over(ChildKind::Service, &live, &mut object);
        assert_eq!(object.pointer("/spec/clusterIP"), Some(&json!("10.0.0.7")));
        assert_eq!(object.pointer("/spec/ipFamilies"), Some(&json!(["IPv4"])));
        assert_eq!(
            object.pointer("/spec/ports"),
            Some(&json!([{"port": 80, "protocol": "TCP", "nodePort": 30001}]))
        );
        assert_eq!(
            object.pointer("/metadata/finalizers"),
            live.pointer("/metadata/finalizers")
        );
        assert_eq!(object.get("status"), live.get("status"));
    }

    #[test]
    fn what_the_configuration_says_is_not_overwritten() {
        let live = json!({"spec": {"clusterIP": "10.0.0.7"}});
        let mut object = json!({"metadata": {}, "spec": {"clusterIP": "None"}});
        carry_over(ChildKind::Service, &live, &mut object);
        assert_eq!(object.pointer("/spec/clusterIP"), Some(&json!("None")));
    }
}
