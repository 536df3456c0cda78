//! The Deployment of a revision.
//!
//! Decides everything around the pod template, which comes from [`crate::app::renderer`]; never how
//! many pods there should be.

use std::collections::BTreeMap;

use serde_json::json;
use signalbox_common::kinds::ChildKind;
use signalbox_crds::names::{
    ANNOTATION_BASE, ANNOTATION_RENDERER, LABEL_OWNER, LABEL_REVISION, serves_label,
};

use super::{Desired, Marks, child, noted_inputs};
use crate::app::renderer::{Template, render};
use crate::app::resolve::{App, Inputs};

/// What a revision's Deployment is made from.
pub(in crate::app) struct Make<'m> {
    pub(in crate::app) revision: &'m str,
    /// The revision beside which its pods may serve, or itself.
    pub(in crate::app) base: &'m str,
    pub(in crate::app) inputs: &'m Inputs,
    /// Whether the revision's `ConfigMap` has entries.
    pub(in crate::app) configured: bool,
    /// Version of the renderer of its pod template.
    pub(in crate::app) renderer: &'m str,
    pub(in crate::app) replicas: i32,
}

/// The Deployment; none if its renderer is unknown to this build: then its template is left alone.
pub(in crate::app) fn deployment(app: &App<'_>, make: &Make<'_>) -> Option<Desired> {
    let name = app.revision_name(make.revision);
    let selector = BTreeMap::from([
        (LABEL_OWNER.to_owned(), app.name().to_owned()),
        (LABEL_REVISION.to_owned(), make.revision.to_owned()),
    ]);
    let mut labels = selector.clone();
    for served in [make.revision, make.base] {
        labels.insert(serves_label(served), "true".to_owned());
    }
    let template = Template {
        inputs: make.inputs,
        labels,
        config_map: make.configured.then_some(name.as_str()),
        claim: make.inputs.storage_path.as_ref().map(|_| app.name()),
    };
    let template = render(make.renderer, &template)?;
    let mut annotations = BTreeMap::from([
        (ANNOTATION_RENDERER.to_owned(), make.renderer.to_owned()),
        (ANNOTATION_BASE.to_owned(), make.base.to_owned()),
    ]);
    annotations.extend(noted_inputs(make.inputs));
    let marks = Marks {
        labels: BTreeMap::from([(LABEL_REVISION.to_owned(), make.revision.to_owned())]),
        annotations,
        unowned: false,
    };
    let mut spec = json!({
        "replicas": make.replicas,
        "selector": { "matchLabels": selector },
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 0 },
        },
        "revisionHistoryLimit": 0,
        "progressDeadlineSeconds": 600,
    });
    if let Some(fields) = spec.as_object_mut() {
        fields.insert("template".to_owned(), template);
    }
    let body = Some(("spec", spec));
    Some(child(app, ChildKind::Deployment, name, marks, body))
}
