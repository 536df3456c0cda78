//! What an app's status keeps: enough to plan the next step after any crash, from the API server alone.
//!
//! Decides shapes; the planner alone decides values. Times are stored starts, never "remaining".

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::{Condition, LastDecision, LastFailure};
use crate::reference::ResolvedReferences;

/// Status of a `PortfolioApp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PortfolioAppStatus {
    /// Newest generation that was planned and acted on; -1: never.
    pub observed_generation: i64,
    /// Summary for people: Pending, Migrating, Progressing, Paused, Ready, `RollingBack`, `RolledBack`, Stalled, Terminating.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Ready, Reconciling, Stalled.
    pub conditions: Vec<Condition>,
    /// Hash of the revision that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The promoted revision: the safe side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The revision that was refused (rolled back) last, and is not tried again until the spec changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_revision: Option<String>,
    /// The rollout under way or the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Pods of all revisions.
    pub replicas: i32,
    /// Ready pods of all revisions.
    pub ready_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Secrets as last resolved: names and keyed digests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<ResolvedReferences>,
    /// The migration release that the app asked for last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<AppRelease>,
    /// The failure that is waited for or retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,
    /// Why the app is as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<LastDecision>,
    /// When to look again without any change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub next_wake: Option<Timestamp>,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutState {
    /// Expand migrations run; no pod of the new revision exists.
    Migrating,
    /// Pods of the new revision come up to the step's weight, or the step's pause runs.
    Progressing,
    /// The Service sends to the new revision only; the old one drains.
    Promoted,
    /// Contract migrations run.
    Contracting,
    /// Done: the new revision is stable.
    Completed,
    /// The new revision goes away, the old one has its full capacity again.
    RollingBack,
    /// Done: the old revision serves alone.
    RolledBack,
}

/// The rollout under way or the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The new revision.
    pub revision: String,
    /// The revision that it takes over from; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// How far it is.
    pub state: RolloutState,
    /// Index of the step, from 0.
    #[serde(default)]
    pub step: i32,
    /// Share of the pods that the step asks for, in percent.
    #[serde(default)]
    pub weight: i32,
    /// When the rollout began.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub started_at: Timestamp,
    /// When the rollout last made progress: the deadline counts from here.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub progressed_at: Timestamp,
    /// Ready pods of the new revision at `progressedAt`.
    #[serde(default)]
    pub progressed_ready: i32,
    /// When the step's weight was reached: its pause counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub step_reached_at: Option<Timestamp>,
    /// When the Service was turned to the new revision: draining counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub promoted_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub finished_at: Option<Timestamp>,
    /// Why it ended or is held, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A migration release that the app asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppRelease {
    /// Name of the migration.
    pub migration: String,
    /// Revision for which it was asked.
    pub revision: String,
    /// Phase that was asked for.
    pub phase: crate::migration::Phase,
}
