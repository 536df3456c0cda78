//! The app's Service: which revision's traffic it carries.
//!
//! Decides ports and selector. It always names a revision, never only the app: so a pod that comes late
//! gets traffic only if it may serve beside the revision that is served.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_crds::app::{Port, Protocol};
use signalbox_crds::names::{LABEL_OWNER, serves_label};

use super::{Desired, Marks, child};
use crate::app::resolve::App;

/// The Service that sends to the pods which may serve beside `revision`; none for an app without ports.
pub(in crate::app) fn service(app: &App<'_>, revision: &str) -> Option<Desired> {
    if app.spec.ports.is_empty() {
        return None;
    }
    let selector = BTreeMap::from([
        (LABEL_OWNER.to_owned(), app.name().to_owned()),
        (serves_label(revision), "true".to_owned()),
    ]);
    let ports: Vec<Value> = app.spec.ports.iter().map(port).collect();
    let spec = json!({
        "type": "ClusterIP",
        "selector": selector,
        "ports": ports,
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    });
    Some(child(
        app,
        ChildKind::Service,
        app.name().to_owned(),
        Marks::default(),
        Some(("spec", spec)),
    ))
}

fn port(port: &Port) -> Value {
    json!({
        "name": port.name,
        "port": port.service_port.unwrap_or(port.port),
        "targetPort": port.port,
        "protocol": protocol(port.protocol),
    })
}

/// As the API server spells it.
pub(in crate::app) const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    }
}
