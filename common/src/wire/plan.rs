//! The Plan: what the planner decided, as data.
//!
//! The same Observation and planner give the same bytes.

use jiff::Timestamp;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::action::Action;
use super::tagged::{self, Tagged};
use crate::id::{ObjectKey, ReconcileId, StepId};
use crate::kinds::ChildKind;

/// Message of PLANS; also recorded in LEDGER when it has no actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of the message.
    pub schema: u16,
    /// Id of the flight.
    pub reconcile_id: ReconcileId,
    /// The object.
    pub key: ObjectKey,
    /// Its uid: every write is fenced by it.
    pub uid: String,
    /// Version of the planner.
    pub planner: String,
    /// SHA-256 of the Observation, in hex.
    pub observation: String,
    /// Label of the cause and its actor, for logs and records.
    pub cause: String,
    /// Who is behind it.
    pub actor: String,
    /// Id of the trigger that caused the flight; whoever reports the Outcome names it there too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// What to do.
    pub verdict: Verdict,
    /// What the planner foresees behind the actions: it would find nothing to do. None: the object is looked at again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
}

/// Nothing to do: until something changes, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// When to look again, if time alone may end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing: everything is as wanted.
    Settled,
    /// Nothing now: something outside (or time) must come first. Status says so already.
    Waiting {
        /// When to look again, if time alone may end the wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// What is waited for.
        on: String,
    },
    /// These actions; never empty.
    Act {
        /// In an order that respects `after`.
        actions: Vec<PlannedAction>,
    },
}

impl<'de> Deserialize<'de> for Verdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tagged::read(deserializer)
    }
}

impl Tagged for Verdict {
    const WHAT: &'static str = "a verdict";

    fn variant<'de, D: Deserializer<'de>>(name: &str, fields: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Waiting {
            #[serde(default)]
            until: Option<Timestamp>,
            on: String,
        }
        #[derive(Deserialize)]
        struct Act {
            actions: Vec<PlannedAction>,
        }
        match name {
            "settled" => IgnoredAny::deserialize(fields).map(|_| Self::Settled),
            "waiting" => {
                let Waiting { until, on } = Deserialize::deserialize(fields)?;
                Ok(Self::Waiting { until, on })
            }
            "act" => Act::deserialize(fields).map(|Act { actions }| Self::Act { actions }),
            other => Err(D::Error::custom(format!("unknown verdict `{other}`"))),
        }
    }
}

impl Verdict {
    /// Nothing to do, and until when; none: there is something.
    #[must_use]
    pub const fn rest(&self) -> Option<Rest> {
        match self {
            Self::Settled => Some(Rest { until: None }),
            Self::Waiting { until, .. } => Some(Rest { until: *until }),
            Self::Act { .. } => None,
        }
    }
}

/// One action with its place in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedAction {
    /// Name within the plan, unique: `apply/Service/web`, `status`.
    pub key: String,
    /// Id of the step.
    pub id: StepId,
    /// Keys of the actions that must be done before; independent ones run side by side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What is read live right before the write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guards: Vec<Guard>,
    /// The action.
    pub action: Action,
}

/// Something in another object on which an action's safety rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guard {
    /// Kind of the object: a child kind or a kind of ours, as in `kind:`.
    pub kind: String,
    /// Its name, in the namespace of the plan.
    pub name: String,
    /// Its uid; another uid or no object: the guard does not hold. Empty: the plan's object owns none of this
    /// name that isn't going away, which caches can't tell when a watch is late.
    pub uid: String,
    /// What must hold in it.
    pub expect: Vec<Expect>,
}

impl Guard {
    /// Holds while the plan's object owns no object of this kind and name but one that is going away.
    #[must_use]
    pub fn none_of(kind: ChildKind, name: &str) -> Self {
        Self {
            kind: kind.as_str().to_owned(),
            name: name.to_owned(),
            uid: String::new(),
            expect: Vec::new(),
        }
    }
}

/// What must hold at a place of an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// JSON pointer into the whole object (`/status/availableReplicas`).
    pub pointer: String,
    /// The test.
    #[serde(flatten)]
    pub test: Test,
}

/// The test of an [`Expect`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "test", content = "value", rename_all = "camelCase")]
pub enum Test {
    /// The value is this one.
    Equals(Value),
    /// The number is at least this one; an absent number is 0.
    AtLeast(i64),
    /// There is no value.
    Absent,
}

impl Test {
    /// Whether `found` passes.
    #[must_use]
    pub fn holds(&self, found: Option<&Value>) -> bool {
        match self {
            Self::Equals(value) => found == Some(value),
            Self::AtLeast(least) => found.and_then(Value::as_i64).unwrap_or(0) >= *least,
            Self::Absent => found.is_none_or(Value::is_null),
        }
    }
}
