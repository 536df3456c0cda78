//! The Outcome: what came of a plan, from whoever held it last.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::late::LateWrite;
use super::live::LiveObject;
use super::plan::Rest;
use crate::class::ErrorClass;
use crate::id::{ObjectKey, ReconcileId, StepId};

/// Message of OUTCOMES.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Version of the message.
    pub schema: u16,
    /// Id of the flight that it ends.
    pub reconcile_id: ReconcileId,
    /// The object.
    pub key: ObjectKey,
    /// Its uid.
    pub uid: String,
    /// Who reports: part and instance.
    pub by: String,
    /// Id of the trigger that caused the flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// What came of it.
    pub result: OutcomeResult,
    /// One entry an action, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<ActionReport>,
    /// What was written: the watcher waits until it sees these versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub written: Vec<Written>,
    /// The live object behind a conflict, trimmed as at the watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveObject>,
    /// Not before this time, if a server named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// What requests of the plan, whose end nobody knows, may still change: the next plan fences it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<LateWrite>,
    /// The plan's own, if all of it was written as it was to be: then no look behind it is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
}

/// What came of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum OutcomeResult {
    /// Nothing had to be done.
    Settled,
    /// Nothing could be done now.
    Waiting {
        /// When to look again, if time alone may end the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// What is waited for.
        on: String,
    },
    /// All actions are done.
    Done,
    /// One could not be done; those that depend on it were not tried.
    Failed(Failure),
    /// No room: the object's former plan is not yet acknowledged, or no place for a long step.
    Busy,
    /// A second delivery: the first holder may have done anything; observe anew.
    Interrupted,
    /// The planner failed on the Event (a defect of this planner version).
    Unplannable {
        /// What it said.
        message: String,
        /// Version of the planner.
        planner: String,
    },
    /// The message could not be used and is in DEAD.
    Dead {
        /// Why.
        reason: String,
    },
}

impl OutcomeResult {
    /// The word for logs, metrics and ledger.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Waiting { .. } => "waiting",
            Self::Done => "done",
            Self::Failed(_) => "failed",
            Self::Busy => "busy",
            Self::Interrupted => "interrupted",
            Self::Unplannable { .. } => "unplannable",
            Self::Dead { .. } => "dead",
        }
    }
}

/// The failure that ended a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Key of the action within the plan.
    pub action: String,
    /// Class: decides what happens next.
    pub class: ErrorClass,
    /// What went wrong, for people; for `Forbidden` the verb and the resource.
    pub message: String,
}

/// What came of one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionReport {
    /// Key within the plan.
    pub key: String,
    /// Id of the step.
    pub id: StepId,
    /// What came of it.
    pub result: ActionResult,
    /// Milliseconds that it took.
    #[serde(default)]
    pub took_ms: i64,
}

/// What came of one action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActionResult {
    /// Written.
    Done,
    /// It was as wanted already.
    FoundDone,
    /// A long step was claimed and runs.
    Running,
    /// It failed.
    Failed,
    /// Not tried: something before it failed.
    Skipped,
}

/// One object that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Version after the write; of a deletion the last one.
    pub resource_version: String,
    /// It was deleted (or is terminating).
    #[serde(default)]
    pub deleted: bool,
    /// The write needed another try, so the version may hide a foreign change.
    #[serde(default)]
    pub retried: bool,
}
