//! The app's children: one builder each, complete and in the server's canonical form.
//!
//! Decides what a child looks like; never whether it is written now. Every default that matters is
//! written out, so that what somebody changes is seen.

mod config_map;
mod deployment;
mod hpa;
mod pdb;
mod pvc;
mod service;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use signalbox_common::digest::short_of_json;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_crds::names::{ANNOTATION_APPLIED, ANNOTATION_INPUTS, LABEL_OWNER, LABEL_OWNER_KIND};

pub(super) use config_map::config_map;
pub(super) use deployment::{Make, deployment};
pub(super) use hpa::hpa;
pub(super) use pdb::pdb;
pub(super) use pvc::pvc;
pub(super) use service::{protocol, service};

use super::resolve::{App, Inputs};

/// Value of the label that tells the owner's kind.
pub(super) const OWNER_KIND: &str = "portfolioapp";
/// Inputs that are larger are not noted: an annotation is no store.
const MAX_NOTED_INPUTS: usize = 16 * 1024;

/// A child as it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Desired {
    pub(super) kind: ChildKind,
    pub(super) name: String,
    /// The complete configuration.
    pub(super) object: Value,
}

impl Desired {
    /// Key of the action that applies it.
    pub(super) fn key(&self) -> String {
        apply_key(self.kind, &self.name)
    }

    /// Hash of its configuration, as it is noted on it.
    pub(super) fn applied(&self) -> Option<&str> {
        let annotations = self.object.pointer("/metadata/annotations")?;
        annotations.get(ANNOTATION_APPLIED)?.as_str()
    }
}

/// Key of the action that applies a child.
pub(super) fn apply_key(kind: ChildKind, name: &str) -> String {
    format!("apply/{kind}/{name}")
}

/// What of a child's metadata is its own.
#[derive(Default)]
struct Marks {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// It outlives its owner.
    unowned: bool,
}

/// A child from its own parts and what all children have. `body` is its `spec` or `data`.
fn child(
    app: &App<'_>,
    kind: ChildKind,
    name: String,
    marks: Marks,
    body: Option<(&str, Value)>,
) -> Desired {
    let mut labels = BTreeMap::from([
        (LABEL_OWNER.to_owned(), app.name().to_owned()),
        (LABEL_OWNER_KIND.to_owned(), OWNER_KIND.to_owned()),
        ("app.kubernetes.io/name".to_owned(), app.name().to_owned()),
        (
            "app.kubernetes.io/managed-by".to_owned(),
            "signalbox".to_owned(),
        ),
    ]);
    labels.extend(marks.labels);
    let mut annotations = marks.annotations;
    let body = body.into_iter();
    let mut object: Map<_, _> = body
        .map(|(field, value)| (field.to_owned(), value))
        .collect();
    annotations.insert(ANNOTATION_APPLIED.to_owned(), hash(&labels, &mut object));
    let mut metadata = json!({ "name": name });
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("labels".to_owned(), labels.into_iter().collect());
        metadata.insert("annotations".to_owned(), annotations.into_iter().collect());
        if !marks.unowned {
            metadata.insert("ownerReferences".to_owned(), json!([owner(app)]));
        }
    }
    object.insert("apiVersion".to_owned(), json!(kind.api_version()));
    object.insert("kind".to_owned(), json!(kind.as_str()));
    object.insert("metadata".to_owned(), metadata);
    Desired {
        kind,
        name,
        object: Value::Object(object),
    }
}

/// Hash of a configuration without its replicas, which are only taken out for it.
fn hash(labels: &BTreeMap<String, String>, object: &mut Map<String, Value>) -> String {
    let replicas = spec_of(object).and_then(|spec| spec.remove_entry("replicas"));
    let hash = short_of_json(&(labels, &*object), 16);
    if let Some(spec) = spec_of(object) {
        spec.extend(replicas);
    }
    hash
}

fn spec_of(object: &mut Map<String, Value>) -> Option<&mut Map<String, Value>> {
    object.get_mut("spec")?.as_object_mut()
}

fn owner(app: &App<'_>) -> Value {
    json!({
        "apiVersion": format!("{}/{}", signalbox_crds::GROUP, signalbox_crds::VERSION),
        "kind": Kind::PortfolioApp.as_str(),
        "name": app.name(),
        "uid": app.uid(),
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The annotation from which a revision can be built again when the spec has moved on.
fn noted_inputs(inputs: &Inputs) -> Option<(String, String)> {
    let text = serde_json::to_string(inputs).ok()?;
    (text.len() <= MAX_NOTED_INPUTS).then(|| (ANNOTATION_INPUTS.to_owned(), text))
}

/// A number or a percentage, as the API server stores it.
fn int_or_percent(text: &str) -> Value {
    text.parse::<i64>()
        .map_or_else(|_| json!(text), |number| json!(number))
}
