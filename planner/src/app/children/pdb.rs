//! The app's `PodDisruptionBudget`, over the pods of all its revisions.
//!
//! Decides its numbers and selector; never evicts anything.

use serde_json::json;
use signalbox_common::kinds::ChildKind;
use signalbox_crds::names::LABEL_OWNER;

use super::{Desired, Marks, child, int_or_percent};
use crate::app::resolve::App;

/// The budget; none for an app that asks for none.
pub(in crate::app) fn pdb(app: &App<'_>) -> Option<Desired> {
    let budget = app.spec.disruption_budget.as_ref()?;
    let mut spec = json!({ "selector": { "matchLabels": { LABEL_OWNER: app.name() } } });
    let bounds = [
        ("minAvailable", &budget.min_available),
        ("maxUnavailable", &budget.max_unavailable),
    ];
    if let Some(fields) = spec.as_object_mut() {
        for (field, bound) in bounds {
            if let Some(bound) = bound {
                fields.insert(field.to_owned(), int_or_percent(bound));
            }
        }
    }
    let kind = ChildKind::PodDisruptionBudget;
    Some(child(
        app,
        kind,
        app.name().to_owned(),
        Marks::default(),
        Some(("spec", spec)),
    ))
}
