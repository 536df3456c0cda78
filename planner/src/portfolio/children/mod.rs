//! The children of an app, in the server's canonical form with every default written out.
//!
//! Decides their configuration; never whether they are written.

pub(crate) mod config_map;
pub(crate) mod deployment;
pub(crate) mod extras;
pub(crate) mod service;

use serde_json::{Map, Value, json};
use signalbox_common::digest;
use signalbox_common::kinds::ChildKind;
use signalbox_crds::names;

use super::view::View;

/// One wanted child.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Kind.
    pub(crate) kind: ChildKind,
    /// Name.
    pub(crate) name: String,
    /// The complete configuration.
    pub(crate) object: Value,
}

/// What differs between the children's metadata.
#[derive(Default)]
pub(crate) struct Meta<'a> {
    /// Revision label.
    pub(crate) revision: Option<&'a str>,
    /// More annotations.
    pub(crate) annotations: Vec<(&'a str, String)>,
    /// It outlives its owner: owner by label, not by reference.
    pub(crate) survives: bool,
}

/// A child from its content (`spec`, `data`), with metadata and the hash of its configuration.
pub(crate) fn wanted(
    view: &View<'_>,
    kind: ChildKind,
    name: String,
    meta: &Meta<'_>,
    content: Value,
) -> Wanted {
    let mut labels = Map::new();
    let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), json!(value));
    label("app.kubernetes.io/managed-by", "signalbox");
    label("app.kubernetes.io/name", view.name());
    label(names::LABEL_OWNER, view.name());
    label(names::LABEL_OWNER_KIND, "portfolioapp");
    if let Some(revision) = meta.revision {
        label(names::LABEL_REVISION, revision);
    }
    if meta.survives {
        label(names::LABEL_OWNER_UID, view.uid());
    }
    let mut metadata = json!({
        "name": name,
        "namespace": view.namespace(),
        "labels": labels,
        "annotations": meta.annotations.iter().map(|(k, v)| ((*k).to_owned(), json!(v))).collect::<Map<_, _>>(),
    });
    if !meta.survives {
        put(
            &mut metadata,
            "ownerReferences",
            json!([{
                "apiVersion": format!("{}/{}", signalbox_crds::GROUP, signalbox_crds::VERSION),
                "kind": "PortfolioApp",
                "name": view.name(),
                "uid": view.uid(),
                "controller": true,
                "blockOwnerDeletion": true,
            }]),
        );
    }
    let mut object =
        json!({ "apiVersion": kind.api_version(), "kind": kind.as_str(), "metadata": metadata });
    if let (Value::Object(object), Value::Object(content)) = (&mut object, content) {
        object.extend(content);
    }
    let hash = digest::short_of_json(&object, 16);
    if let Some(annotations) = object.pointer_mut("/metadata/annotations") {
        put(annotations, names::ANNOTATION_APPLIED, json!(hash));
    }
    Wanted { kind, name, object }
}

/// Sets a field of a JSON object.
pub(crate) fn put(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}
