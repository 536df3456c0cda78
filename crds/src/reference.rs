//! References to Secrets and `ConfigMaps`, and what status keeps of them: names and digests, never content.
//!
//! Decides shapes only; the executor resolves, the planner compares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One key of a Secret in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What is known of one referenced Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceDigest {
    /// Name of the Secret.
    pub name: String,
    /// Its uid; empty while it does not exist.
    #[serde(default)]
    pub uid: String,
    /// HMAC-SHA-256 of its data under the operator's key, in hex; empty while it does not exist.
    #[serde(default)]
    pub digest: String,
}

/// The references of an app as last resolved: `status.references`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedReferences {
    /// Hash of the user's pod-relevant inputs (and restart marker) for which they were resolved.
    pub for_inputs: String,
    /// Id of the digest key.
    pub key_id: String,
    /// Grows only when a digest under the same key differs; part of the revision hash.
    pub epoch: i64,
    /// One entry a Secret, in name order.
    #[serde(default)]
    pub secrets: Vec<ReferenceDigest>,
}
