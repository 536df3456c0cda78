//! Identities: reconcile ids, step ids, object keys.
//!
//! Never makes a random id itself: whoever needs one passes it in.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kinds::Kind;

/// Namespace of all step ids.
const STEP_NAMESPACE: Uuid = Uuid::from_bytes(*b"signalbox.step.1");

/// One flight: an Event, its Plan and its Outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReconcileId(pub Uuid);

impl fmt::Display for ReconcileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One step: uuid v5 of (object uid, step key, occurrence). The same wish always has the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub Uuid);

impl StepId {
    /// The id of step `key` of the object `uid` at `occurrence` (revision hash, checksum and target,
    /// slot time, attempt, trigger id: what makes it a new wish; never the generation).
    #[must_use]
    pub fn new(uid: &str, key: &str, occurrence: &str) -> Self {
        Self(Uuid::new_v5(
            &STEP_NAMESPACE,
            format!("{uid}\n{key}\n{occurrence}").as_bytes(),
        ))
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A custom resource by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    #[must_use]
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_wish_has_the_same_id() {
        let id = StepId::new("uid", "migrate/3", "abc@db");
        assert_eq!(id, StepId::new("uid", "migrate/3", "abc@db"));
        assert_ne!(id, StepId::new("uid", "migrate/3", "abd@db"));
    }
}
