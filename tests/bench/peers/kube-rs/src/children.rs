//! What an app's children look like, and whether a child in the cache is that already.

use std::fmt::Write as _;

use kube::ResourceExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use signalbox_crds::app::PortfolioApp;

/// Field manager of all writes.
pub(crate) const MANAGER: &str = "peer-kube-rs";

/// `ConfigMap`.
pub(crate) fn config_map(app: &PortfolioApp) -> Value {
    child(app, "v1", "ConfigMap", json!({ "data": app.spec.config }))
}

/// Service.
pub(crate) fn service(app: &PortfolioApp) -> Value {
    let ports = app.spec.ports.iter().map(|port| {
        json!({
            "name": port.name,
            "port": port.service_port.unwrap_or(port.port),
            "targetPort": port.port,
            "protocol": port.protocol,
        })
    });
    let spec = json!({ "selector": selector(app), "ports": ports.collect::<Vec<_>>() });
    child(app, "v1", "Service", json!({ "spec": spec }))
}

/// Deployment.
pub(crate) fn deployment(app: &PortfolioApp) -> Value {
    let ports = app.spec.ports.iter().map(
        |port| json!({ "name": port.name, "containerPort": port.port, "protocol": port.protocol }),
    );
    let container = json!({
        "name": "app",
        "image": app.spec.image,
        "envFrom": [{ "configMapRef": { "name": app.name_any() } }],
        "ports": ports.collect::<Vec<_>>(),
    });
    let template = json!({
        "metadata": { "labels": labels(app), "annotations": { "peer.signalbox.dev/config-hash": hash(app) } },
        "spec": { "containers": [container] },
    });
    let spec = json!({
        "replicas": app.spec.replicas,
        "selector": { "matchLabels": selector(app) },
        "template": template,
    });
    child(app, "apps/v1", "Deployment", json!({ "spec": spec }))
}

/// The label by which an app's pods are found.
pub(crate) fn selector(app: &PortfolioApp) -> Value {
    json!({ "app.kubernetes.io/name": app.name_any() })
}

fn labels(app: &PortfolioApp) -> Value {
    json!({ "app.kubernetes.io/name": app.name_any(), "app.kubernetes.io/managed-by": MANAGER })
}

fn child(app: &PortfolioApp, api_version: &str, kind: &str, content: Value) -> Value {
    use kube::Resource as _;
    let mut child = content;
    child["apiVersion"] = json!(api_version);
    child["kind"] = json!(kind);
    child["metadata"] = json!({
        "name": app.name_any(),
        "namespace": app.namespace(),
        "labels": labels(app),
        "ownerReferences": [app.controller_owner_ref(&())],
    });
    child
}

/// Pods restart when their configuration changes.
fn hash(app: &PortfolioApp) -> String {
    let text = serde_json::to_vec(&app.spec.config).unwrap_or_default();
    let sum = Sha256::digest(text);
    let (head, _) = sum.split_at(8);
    head.iter().fold(String::new(), |mut hex, byte| {
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whether all of `wanted` stands in `live`; what the API server filled in beside it does not matter, but in
/// a `ConfigMap`'s data.
pub(crate) fn is_satisfied(live: &Value, wanted: &Value) -> bool {
    let empty = json!({});
    let data = |of: &Value| of.get("data").cloned().unwrap_or_else(|| empty.clone());
    data(live) == data(wanted)
        && ["metadata", "spec"]
            .into_iter()
            .all(|part| covers(live.get(part), wanted.get(part)))
}

fn covers(live: Option<&Value>, wanted: Option<&Value>) -> bool {
    match (live, wanted) {
        (_, None) => true,
        (Some(Value::Object(live)), Some(Value::Object(wanted))) => wanted
            .iter()
            .all(|(key, value)| covers(live.get(key), Some(value))),
        (Some(Value::Array(live)), Some(Value::Array(wanted))) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| covers(Some(live), Some(wanted)))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_with_defaults_is_satisfied_and_an_edited_one_is_not() {
        let wanted = json!({ "metadata": { "name": "a" }, "spec": { "ports": [{ "port": 80 }] } });
        let mut live = wanted.clone();
        live["metadata"]["uid"] = json!("1");
        live["spec"]["ports"][0]["nodePort"] = json!(0);
        assert!(is_satisfied(&live, &wanted));
        live["spec"]["ports"][0]["port"] = json!(81);
        assert!(!is_satisfied(&live, &wanted));
        let extra = json!({ "metadata": { "name": "a" }, "data": { "added": "1" } });
        assert!(!is_satisfied(
            &extra,
            &json!({ "metadata": { "name": "a" }, "data": {} })
        ));
        assert!(!is_satisfied(&Value::Null, &wanted));
    }
}
