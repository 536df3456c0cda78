//! The app's `HorizontalPodAutoscaler`.
//!
//! Its target is always the app's own scale subresource: how many pods each revision gets is decided
//! by the rollout.

use serde_json::json;
use signalbox_common::kinds::{ChildKind, Kind};

use super::{Desired, Marks, child};
use crate::app::resolve::App;

/// The autoscaler; none for an app that is not scaled by itself.
pub(in crate::app) fn hpa(app: &App<'_>) -> Option<Desired> {
    let scaling = app.spec.autoscaling.as_ref()?;
    let spec = json!({
        "scaleTargetRef": {
            "apiVersion": format!("{}/{}", signalbox_crds::GROUP, signalbox_crds::VERSION),
            "kind": Kind::PortfolioApp.as_str(),
            "name": app.name(),
        },
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [{
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": { "type": "Utilization", "averageUtilization": scaling.cpu_percent },
            },
        }],
    });
    let kind = ChildKind::HorizontalPodAutoscaler;
    Some(child(
        app,
        kind,
        app.name().to_owned(),
        Marks::default(),
        Some(("spec", spec)),
    ))
}
