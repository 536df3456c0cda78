//! The configuration of one revision.

use serde_json::{Value, json};
use signalbox_common::kinds::ChildKind;

use super::{Meta, Wanted, put, wanted};
use crate::portfolio::view::View;

/// `ConfigMap` `<app>-<revision>`; empty for an app without configuration.
pub(crate) fn build(view: &View<'_>, revision: &str) -> Wanted {
    let mut content = json!({});
    if !view.spec.config.is_empty() {
        put(
            &mut content,
            "data",
            serde_json::to_value(&view.spec.config).unwrap_or(Value::Null),
        );
    }
    let meta = Meta {
        revision: Some(revision),
        ..Meta::default()
    };
    wanted(
        view,
        ChildKind::ConfigMap,
        view.child_name(revision),
        &meta,
        content,
    )
}
