//! A live object, trimmed at the watch: what the planner may see of a CR, a child or a linked object.
//!
//! Decides what is kept; never what it means. A Secret never becomes one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A live object, trimmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveObject {
    /// Kind, as in `kind:`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Generation, where the kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// When it was created.
    pub created_at: Timestamp,
    /// `deletionTimestamp`: it is going away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of `signalbox.dev` only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Owner references.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Owner>,
    /// Finalizers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Fields of spec, data, labels and owners that another field manager (or our own by an Update)
    /// owns: sorted paths of `fieldsV1` keys, such as `["f:spec", "f:ports", "k:{\"port\":99,..}"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<Vec<String>>,
    /// The object without `apiVersion`, `kind` and `metadata`; status cut to what plans need.
    pub content: Value,
}

/// An owner reference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// It is the controlling owner.
    #[serde(default)]
    pub controller: bool,
}

impl LiveObject {
    /// Whether `uid` owns it: by owner reference, or by label for what outlives its owner.
    #[must_use]
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.owners.iter().any(|owner| owner.uid == uid)
            || self
                .labels
                .get(signalbox_crds::names::LABEL_OWNER_UID)
                .is_some_and(|l| l == uid)
    }

    /// What a write on it rests on, as a digest: uid, generation (or content without status, where the kind
    /// has no generation), deletion, labels, owners, finalizers. A change of anything else does not
    /// refuse a write.
    #[must_use]
    pub fn basis(&self) -> String {
        let content = self.content.as_object();
        let content = content.filter(|_| self.generation.is_none());
        let content = content.map(|fields| -> BTreeMap<_, _> {
            let rest = fields.iter().filter(|(field, _)| *field != "status");
            rest.collect()
        });
        crate::digest::of_json(&(
            &self.uid,
            self.generation,
            content,
            self.deleted_at.is_some(),
            &self.labels,
            &self.owners,
            &self.finalizers,
        ))
    }

    /// The value at a JSON pointer into `content` (`/spec/replicas`).
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Value> {
        self.content.pointer(pointer)
    }

    /// The number at a JSON pointer; 0 where there is none (Kubernetes omits zeros).
    #[must_use]
    pub fn count(&self, pointer: &str) -> i64 {
        self.at(pointer).and_then(Value::as_i64).unwrap_or(0)
    }
}
