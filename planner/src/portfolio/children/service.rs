//! The Service of an app: its selector names the revision whose circle of pods serves, never only the app.

use serde_json::{Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_crds::app::Protocol;
use signalbox_crds::names;

use super::{Meta, Wanted, put, wanted};
use crate::portfolio::view::View;

/// Service `<app>`, sending to the pods that may serve beside `revision`; none without ports.
pub(crate) fn build(view: &View<'_>, revision: &str) -> Option<Wanted> {
    if view.spec.ports.is_empty() {
        return None;
    }
    let ports: Vec<Value> = view
        .spec
        .ports
        .iter()
        .map(|port| {
            json!({
                "name": port.name,
                "port": port.service_port.unwrap_or(port.port),
                "protocol": protocol(port.protocol),
                "targetPort": port.port,
            })
        })
        .collect();
    let mut selector = json!({ names::LABEL_OWNER: view.name() });
    put(&mut selector, &names::serves_label(revision), json!("true"));
    let spec = json!({ "spec": {
        "type": "ClusterIP",
        "selector": selector,
        "ports": ports,
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }});
    Some(wanted(
        view,
        ChildKind::Service,
        view.name().to_owned(),
        &Meta::default(),
        spec,
    ))
}

/// The protocol's word.
pub(crate) const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}
