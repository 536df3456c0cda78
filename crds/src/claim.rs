//! The claim of a long step: who does it, and what came of it.
//!
//! Decides the shape of `status.claims.<step>`; never decides whether a step may be claimed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a claimed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClaimState {
    /// An executor holds the step's Lease and works.
    Running,
    /// The effect is done.
    Succeeded,
    /// The effect failed and left nothing behind.
    Failed,
    /// The work was cancelled and left nothing behind.
    Cancelled,
    /// It cannot be known whether the effect is done; a person decides.
    Ambiguous,
}

/// One claimed step: `status.claims.<step key>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Step id: uuid v5 of (object uid, step key, occurrence).
    pub step_id: String,
    /// Attempt, from 1.
    pub attempt: u32,
    /// The executor that claimed it.
    pub executor: String,
    /// Name of the step's Lease.
    pub lease: String,
    /// How far it is.
    pub state: ClaimState,
    /// When it was claimed.
    #[schemars(with = "k8s_openapi::apimachinery::pkg::apis::meta::v1::Time")]
    pub started_at: Timestamp,
    /// When the planner asked for its cancellation; its Lease is deleted after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub cancelled_at: Option<Timestamp>,
    /// When the result was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>")]
    pub finished_at: Option<Timestamp>,
    /// Error class of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What came of it, for people (a failure's reason, blockers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Milliseconds that the effect itself took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect_ms: Option<i64>,
    /// The effect was found already done.
    #[serde(default)]
    pub found_done: bool,
}
