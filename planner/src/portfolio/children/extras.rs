//! Children of features that an app may not use: volume, autoscaler, disruption budget.

use serde_json::{Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_crds::app::AccessMode;

use super::{Meta, Wanted, put, wanted};
use crate::portfolio::quantity;
use crate::portfolio::view::View;

/// `PersistentVolumeClaim` `<app>`, if the app has storage.
pub(crate) fn volume(view: &View<'_>) -> Option<Wanted> {
    let storage = view.spec.storage.as_ref()?;
    let mode = match storage.access_mode {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    };
    let mut spec = json!({
        "accessModes": [mode],
        "resources": { "requests": { "storage": quantity::canonical(&storage.size) } },
        "volumeMode": "Filesystem",
    });
    if let Some(class) = &storage.storage_class_name {
        put(&mut spec, "storageClassName", json!(class));
    }
    let meta = Meta {
        survives: true,
        ..Meta::default()
    };
    let content = json!({ "spec": spec });
    Some(wanted(
        view,
        ChildKind::PersistentVolumeClaim,
        view.name().to_owned(),
        &meta,
        content,
    ))
}

/// `HorizontalPodAutoscaler` `<app>` on the app's own scale subresource, if it scales itself.
pub(crate) fn autoscaler(view: &View<'_>) -> Option<Wanted> {
    let scaling = view.spec.autoscaling.as_ref()?;
    let content = json!({ "spec": {
        "scaleTargetRef": {
            "apiVersion": format!("{}/{}", signalbox_crds::GROUP, signalbox_crds::VERSION),
            "kind": "PortfolioApp",
            "name": view.name(),
        },
        "minReplicas": scaling.min_replicas,
        "maxReplicas": scaling.max_replicas,
        "metrics": [{
            "type": "Resource",
            "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": scaling.cpu_percent } },
        }],
    }});
    let name = view.name().to_owned();
    Some(wanted(
        view,
        ChildKind::HorizontalPodAutoscaler,
        name,
        &Meta::default(),
        content,
    ))
}

/// `PodDisruptionBudget` `<app>` over the pods of all revisions, if asked for.
pub(crate) fn budget(view: &View<'_>) -> Option<Wanted> {
    let budget = view.spec.disruption_budget.as_ref()?;
    let mut spec = json!({
        "selector": { "matchLabels": { signalbox_crds::names::LABEL_OWNER: view.name() } },
    });
    for (key, value) in [
        ("minAvailable", &budget.min_available),
        ("maxUnavailable", &budget.max_unavailable),
    ] {
        if let Some(value) = value {
            put(&mut spec, key, count_or_percent(value));
        }
    }
    let content = json!({ "spec": spec });
    let name = view.name().to_owned();
    Some(wanted(
        view,
        ChildKind::PodDisruptionBudget,
        name,
        &Meta::default(),
        content,
    ))
}

fn count_or_percent(text: &str) -> Value {
    text.parse::<i64>()
        .map_or_else(|_| json!(text), |number| json!(number))
}
