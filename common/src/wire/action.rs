//! Actions: the closed set of what an executor can do, as data.
//!
//! All act in the namespace of the plan's object; cluster-scoped kinds and other namespaces can't be
//! expressed. No action sleeps: what takes long is claimed and goes on beside the plans.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use signalbox_crds::migration::{FileDigest, Phase};
use signalbox_crds::reference::{ResolvedReferences, SecretKey};

use super::tagged::{self, Tagged};
use crate::kinds::{ChildKind, Kind};

/// What an executor can do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Action {
    /// Brings a whole child to its configuration.
    ApplyChild(ApplyChild),
    /// Deletes a child.
    DeleteChild(DeleteChild),
    /// Changes nothing of a child but its version, so that a late write of it is refused.
    FenceChild(FenceChild),
    /// Merge patch of the object's status.
    PatchStatus(PatchStatus),
    /// Merge patch of named fields of the object's (or a linked object's) spec.
    PatchSpec(PatchSpec),
    /// Adds the finalizer to the object.
    AddFinalizer(Finalizer),
    /// Removes the finalizer from the object.
    RemoveFinalizer(Finalizer),
    /// PUT of a Deployment's scale subresource.
    Scale(Scale),
    /// Reads the Secrets that an app names and writes their digests into its status.
    ResolveReferences(ResolveReferences),
    /// Reads the `ConfigMap` that a migration names and writes the files' digests into its status.
    ResolveSource(ResolveSource),
    /// Claims a long step and starts it; it goes on beside the plans.
    ClaimStep(ClaimStep),
    /// Deletes a step's Lease, which cancels its work.
    CancelStep(CancelStep),
    /// Creates a Kubernetes Event, once.
    EmitEvent(EmitEvent),
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tagged::read(deserializer)
    }
}

impl Tagged for Action {
    const WHAT: &'static str = "an action";

    fn variant<'de, D: Deserializer<'de>>(name: &str, fields: D) -> Result<Self, D::Error> {
        match name {
            "applyChild" => Deserialize::deserialize(fields).map(Self::ApplyChild),
            "deleteChild" => Deserialize::deserialize(fields).map(Self::DeleteChild),
            "fenceChild" => Deserialize::deserialize(fields).map(Self::FenceChild),
            "patchStatus" => Deserialize::deserialize(fields).map(Self::PatchStatus),
            "patchSpec" => Deserialize::deserialize(fields).map(Self::PatchSpec),
            "addFinalizer" => Deserialize::deserialize(fields).map(Self::AddFinalizer),
            "removeFinalizer" => Deserialize::deserialize(fields).map(Self::RemoveFinalizer),
            "scale" => Deserialize::deserialize(fields).map(Self::Scale),
            "resolveReferences" => Deserialize::deserialize(fields).map(Self::ResolveReferences),
            "resolveSource" => Deserialize::deserialize(fields).map(Self::ResolveSource),
            "claimStep" => Deserialize::deserialize(fields).map(Self::ClaimStep),
            "cancelStep" => Deserialize::deserialize(fields).map(Self::CancelStep),
            "emitEvent" => Deserialize::deserialize(fields).map(Self::EmitEvent),
            other => Err(D::Error::custom(format!("unknown action `{other}`"))),
        }
    }
}

impl Action {
    /// The word for logs, metrics and ledger.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ApplyChild(_) => "ApplyChild",
            Self::DeleteChild(_) => "DeleteChild",
            Self::FenceChild(_) => "FenceChild",
            Self::PatchStatus(_) => "PatchStatus",
            Self::PatchSpec(_) => "PatchSpec",
            Self::AddFinalizer(_) => "AddFinalizer",
            Self::RemoveFinalizer(_) => "RemoveFinalizer",
            Self::Scale(_) => "Scale",
            Self::ResolveReferences(_) => "ResolveReferences",
            Self::ResolveSource(_) => "ResolveSource",
            Self::ClaimStep(_) => "ClaimStep",
            Self::CancelStep(_) => "CancelStep",
            Self::EmitEvent(_) => "EmitEvent",
        }
    }
}

/// How a child is brought to its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "camelCase")]
pub enum ApplyMode {
    /// Server-side apply with resourceVersion "1": only if absent.
    Create,
    /// Server-side apply, forced, fenced by both.
    #[serde(rename_all = "camelCase")]
    Apply {
        /// Uid seen.
        uid: String,
        /// Resource version seen.
        resource_version: String,
        /// [`LiveObject::basis`](super::LiveObject::basis) of the child seen: a conflict is tried again
        /// only while it is the same; none: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
    },
    /// PUT: undoes what an apply can't (a list's key, a foreign addition). Fields that the server
    /// assigned are carried over from the live object by the executor.
    #[serde(rename_all = "camelCase")]
    Replace {
        /// Uid seen.
        uid: String,
        /// Resource version seen.
        resource_version: String,
        /// [`LiveObject::basis`](super::LiveObject::basis) of the child seen: a conflict is tried again
        /// only while it is the same; none: never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seen: Option<String>,
    },
}

/// Brings a whole child to its configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyChild {
    /// Kind.
    pub kind: ChildKind,
    /// Name.
    pub name: String,
    /// How.
    #[serde(flatten)]
    pub mode: ApplyMode,
    /// The complete configuration with apiVersion, kind, metadata (name, labels, annotations, owners).
    pub object: Value,
}

/// Deletes a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteChild {
    /// Kind.
    pub kind: ChildKind,
    /// Name.
    pub name: String,
    /// Uid seen.
    pub uid: String,
    /// Resource version seen.
    pub resource_version: String,
    /// [`LiveObject::basis`](super::LiveObject::basis) of the child seen: a conflict is tried again
    /// only while it is the same; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

/// Notes on a child that what an earlier plan may still write of it is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FenceChild {
    /// Kind.
    pub kind: ChildKind,
    /// Name.
    pub name: String,
    /// Uid seen.
    pub uid: String,
    /// Resource version seen.
    pub resource_version: String,
    /// The flight that fences, as the label tells it.
    pub by: String,
}

/// Merge patch of the object's status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchStatus {
    /// Resource version seen. An earlier action of the plan on the same object hands on its own.
    pub resource_version: String,
    /// SHA-256 of the status seen (canonical JSON), in hex: a conflict is tried again only while it is unchanged.
    pub seen: String,
    /// Merge patch of `status`.
    pub status: Value,
}

/// Merge patch of named fields of a spec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchSpec {
    /// Kind of the object: the plan's own, or a linked one.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Resource version seen.
    pub resource_version: String,
    /// The fields that the patch replaces: JSON pointer into the object, and the value seen (null: absent).
    /// A conflict is tried again only while all are unchanged.
    pub replaces: BTreeMap<String, Value>,
    /// Merge patch of `spec`.
    pub spec: Value,
    /// Merge patch of `metadata.annotations`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Adds or removes the finalizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finalizer {
    /// Resource version seen.
    pub resource_version: String,
    /// All finalizers after the action.
    pub finalizers: Vec<String>,
}

/// PUT of a Deployment's scale subresource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    /// Name of the Deployment.
    pub name: String,
    /// Uid seen.
    pub uid: String,
    /// Resource version seen.
    pub resource_version: String,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
}

/// Reads the Secrets that an app names and writes their digests into its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolveReferences {
    /// Resource version of the object.
    pub resource_version: String,
    /// SHA-256 of the status seen: as in [`PatchStatus`].
    pub seen: String,
    /// Hash of the inputs for which they are resolved.
    pub for_inputs: String,
    /// Names, sorted.
    pub secrets: Vec<String>,
    /// As resolved before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ResolvedReferences>,
}

/// Reads the `ConfigMap` that a migration names and writes the files' digests into its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolveSource {
    /// Resource version of the object.
    pub resource_version: String,
    /// SHA-256 of the status seen: as in [`PatchStatus`].
    pub seen: String,
    /// Name of the `ConfigMap`.
    pub config_map: String,
    /// Generation of the migration.
    pub for_generation: i64,
    /// Names of the files, sorted.
    pub files: Vec<String>,
}

/// Claims a long step and starts it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimStep {
    /// Step key: the key in `status.claims`.
    pub step: String,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Name of the step's Lease, unique to step id and attempt.
    pub lease: String,
    /// Resource version of the object: any change of it refuses the claim.
    pub resource_version: String,
    /// What to do.
    pub effect: Effect,
}

/// A long effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "camelCase")]
pub enum Effect {
    /// One transactional SQL file against one database.
    Sql(SqlEffect),
}

/// One transactional SQL file against one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlEffect {
    /// Where the connection URL stands.
    pub url_from: SecretKey,
    /// Schema of the history table.
    pub history_schema: String,
    /// The file: name, size and hash; content that differs is refused.
    pub file: FileDigest,
    /// Version of the file.
    pub version: String,
    /// Phase of the file.
    pub phase: Phase,
    /// `ConfigMap` that holds the file; none: inline in the migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<String>,
    /// Seconds to wait for a lock inside the transaction.
    pub lock_seconds: i64,
    /// Seconds for one statement.
    pub statement_seconds: i64,
    /// Seconds to wait for another migration of the same history.
    pub history_lock_seconds: i64,
}

/// Cancels a claimed step: deletes its Lease, fenced by uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelStep {
    /// Step key.
    pub step: String,
    /// Name of the Lease.
    pub lease: String,
    /// Uid of the Lease.
    pub lease_uid: String,
}

/// A Kubernetes Event about the object; its name comes from the step id, so it exists once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmitEvent {
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// Why, one word in `CamelCase`.
    pub reason: String,
    /// What was done, one word in `CamelCase`.
    pub action: String,
    /// For people; at most 1024 bytes.
    pub note: String,
}
