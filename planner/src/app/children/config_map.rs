//! The `ConfigMap` of a revision: the configuration that its pods were started with.
//!
//! Decides its content; a new configuration is a new revision with a `ConfigMap` of its own.

use std::collections::BTreeMap;

use serde_json::json;
use signalbox_common::kinds::ChildKind;
use signalbox_crds::names::LABEL_REVISION;

use super::{Desired, Marks, child, noted_inputs};
use crate::app::resolve::{App, Inputs};

/// The `ConfigMap` of `revision`; it exists even without entries, so that its name is never somebody else's.
pub(in crate::app) fn config_map(
    app: &App<'_>,
    revision: &str,
    inputs: &Inputs,
    config: &BTreeMap<String, String>,
) -> Desired {
    let marks = Marks {
        labels: BTreeMap::from([(LABEL_REVISION.to_owned(), revision.to_owned())]),
        annotations: noted_inputs(inputs).into_iter().collect(),
        unowned: false,
    };
    let body = (!config.is_empty()).then(|| ("data", json!(config)));
    child(
        app,
        ChildKind::ConfigMap,
        app.revision_name(revision),
        marks,
        body,
    )
}
