//! `DatabaseMigration` (dbm): versioned schema steps against a target, in two phases.
//!
//! Decides what a user may ask for and what status keeps; never runs or orders anything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::claim::Claim;
use crate::condition::{Condition, LastDecision, LastFailure};
use crate::reference::SecretKey;

/// Versioned schema steps against one database.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "signalbox.dev",
    version = "v1alpha1",
    kind = "DatabaseMigration",
    plural = "databasemigrations",
    singular = "databasemigration",
    shortname = "dbm",
    category = "signalbox",
    namespaced,
    status = "DatabaseMigrationStatus",
    derive = "PartialEq",
    doc = "Versioned schema steps against a target database: expand before a release, contract after its promotion.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Release", type_ = "string", json_path = ".spec.release.phase"),
    printcolumn(name = "Pending", type_ = "integer", json_path = ".status.pending"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name must have at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.files.all(f, has(f.sql) || has(self.configMap))")
    .message("spec.files[] needs sql, or spec.configMap must name the ConfigMap that holds the file").field_path(".files"))]
#[x_kube(validation = Rule::new("has(self.app) == has(oldSelf.app) && (!has(self.app) || self.app == oldSelf.app)")
    .message("spec.app can't be changed after creation").field_path(".app"))]
#[x_kube(validation = Rule::new("!has(self.release) || has(self.app)")
    .message("spec.release is written by the app that spec.app names; without spec.app all files run").field_path(".release"))]
pub struct DatabaseMigrationSpec {
    /// The database.
    pub target: Target,
    /// The files, each with its phase. Versions are the part of the name between `V` and `__`.
    #[schemars(length(min = 1, max = 200), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub files: Vec<MigrationFile>,
    /// Name of a `ConfigMap` of the same namespace with the files that have no `sql` of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub config_map: Option<String>,
    /// Name of the `PortfolioApp` whose releases drive this migration. Unset: everything runs at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 40))]
    pub app: Option<String>,
    /// When contract files run after the app's promotion.
    #[serde(default)]
    pub contract: ContractPolicy,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Retries of failures that may pass (locks, lost connections).
    #[serde(default)]
    pub retry: Retry,
    /// Holds everything as it is: no further file is started.
    #[serde(default)]
    pub paused: bool,
    /// What the app has released so far. Written by the app's flights only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
}

/// A database, named by the Secret that holds its connection URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Where the URL (`postgres://user:password@host:port/database`) stands.
    pub url_from: SecretKey,
    /// Schema of the history table.
    #[serde(default = "history_schema")]
    #[schemars(length(min = 1, max = 40), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    pub history_schema: String,
}

/// One versioned file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationFile {
    /// Name: `V<version>__<description>.sql`, the version being numbers with dots.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^V[0-9]+(\.[0-9]+)*__[A-Za-z0-9_-]+\.sql$")
    )]
    pub name: String,
    /// Before the release, or after its promotion.
    #[serde(default)]
    pub phase: Phase,
    /// The statements. Run in one transaction; `BEGIN`, `COMMIT` and `ROLLBACK` are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072))]
    pub sql: Option<String>,
}

/// When a file runs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Phase {
    /// Before the new revision starts: both revisions can live with it.
    #[default]
    Expand,
    /// After promotion: the old revision could not live with it.
    Contract,
}

/// When contract files run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContractPolicy {
    /// As soon as the app has promoted the revision.
    #[default]
    Auto,
    /// Never by itself.
    Manual,
}

/// Time limits of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// Seconds to wait for a lock inside the transaction.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 3600))]
    pub lock_seconds: i64,
    /// Seconds for one statement.
    #[serde(default = "fifteen_minutes")]
    #[schemars(range(min = 1, max = 86400))]
    pub statement_seconds: i64,
    /// Seconds to wait for another migration of the same history.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 3600))]
    pub history_lock_seconds: i64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            lock_seconds: two(),
            statement_seconds: fifteen_minutes(),
            history_lock_seconds: thirty(),
        }
    }
}

/// Retries of failures that may pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Attempts of one file before it is Stalled.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: ten(),
        }
    }
}

/// What the app has released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// Up to and including this phase.
    pub phase: Phase,
    /// For this revision of the app.
    #[schemars(length(min = 1, max = 63))]
    pub revision: String,
}

/// Status of a `DatabaseMigration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseMigrationStatus {
    /// Newest generation that was planned and acted on; -1: never.
    pub observed_generation: i64,
    /// Summary for people: Pending, Running, `AwaitingRelease`, Applied, Failed, Ambiguous, Paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Ready, Reconciling, Stalled.
    pub conditions: Vec<Condition>,
    /// Version of the newest applied file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Number of files that are not applied.
    pub pending: i32,
    /// Digests of the files of `spec.configMap`, as last resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceStatus>,
    /// Applied files, in order of version.
    pub applied: Vec<AppliedFile>,
    /// Claims of steps, by step key.
    pub claims: BTreeMap<String, Claim>,
    /// The release whose files are all applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<Release>,
    /// The failure that is waited for or retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// Why the migration is as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<LastDecision>,
    /// When to look again without any change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub next_wake: Option<Timestamp>,
}

/// The files of the `ConfigMap`, as last resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Name of the `ConfigMap`.
    pub config_map: String,
    /// Generation of the migration for which it was resolved.
    pub for_generation: i64,
    /// One entry a file, in name order; absent: not in the `ConfigMap`.
    #[serde(default)]
    pub files: Vec<FileDigest>,
}

/// Name, size and hash of a file: what travels on the bus instead of its SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileDigest {
    /// Name of the file.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// SHA-256, in hex.
    pub sha256: String,
}

/// A file that is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedFile {
    /// Name of the file.
    pub name: String,
    /// Its phase.
    pub phase: Phase,
    /// SHA-256 of what was applied, in hex.
    pub sha256: String,
    /// Step id of the claim.
    pub step_id: String,
    /// When.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub applied_at: Timestamp,
    /// Milliseconds that it took.
    #[serde(default)]
    pub effect_ms: i64,
}

/// The definition with what the derive can't say: an untouched object reads as in progress.
#[must_use]
pub fn with_defaults(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crate::condition::default_observed_generation(crd)
}

fn history_schema() -> String {
    "signalbox".to_owned()
}
const fn two() -> i64 {
    2
}
const fn ten() -> u32 {
    10
}
const fn thirty() -> i64 {
    30
}
const fn fifteen_minutes() -> i64 {
    900
}
