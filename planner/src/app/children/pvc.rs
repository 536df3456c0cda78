//! The app's `PersistentVolumeClaim`, which outlives the app.
//!
//! Decides its configuration at creation; of a claim that exists only the labels are ours, for its spec
//! can't be changed and its content is the user's.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::LiveObject;
use signalbox_crds::app::AccessMode;
use signalbox_crds::names::LABEL_OWNER_UID;

use super::{Desired, Marks, child};
use crate::app::resolve::App;

/// The claim; none for an app without storage.
pub(in crate::app) fn pvc(app: &App<'_>, live: Option<&LiveObject>) -> Option<Desired> {
    let storage = app.spec.storage.as_ref()?;
    let mode = match storage.access_mode {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    };
    let mut spec = Map::from_iter([
        ("accessModes".to_owned(), json!([mode])),
        (
            "resources".to_owned(),
            json!({ "requests": { "storage": storage.size } }),
        ),
        ("volumeMode".to_owned(), json!("Filesystem")),
    ]);
    if let Some(class) = &storage.storage_class_name {
        spec.insert("storageClassName".to_owned(), json!(class));
    }
    if let Some(found) = live
        .and_then(|live| live.at("/spec"))
        .and_then(Value::as_object)
    {
        for (field, value) in &mut spec {
            if let Some(found) = found.get(field) {
                *value = found.clone();
            }
        }
        spec.retain(|field, _| found.contains_key(field));
    }
    let marks = Marks {
        labels: BTreeMap::from([(LABEL_OWNER_UID.to_owned(), app.uid().to_owned())]),
        annotations: BTreeMap::new(),
        unowned: true,
    };
    Some(child(
        app,
        ChildKind::PersistentVolumeClaim,
        app.name().to_owned(),
        marks,
        Some(("spec", spec.into())),
    ))
}
