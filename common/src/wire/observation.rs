//! The Observation: everything that the planner may know, time included.
//!
//! Made by the watcher, never completed by the planner: what is not in here does not exist for a plan.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::live::LiveObject;
use super::outcome::Outcome;
use super::trigger::Trigger;
use crate::id::{ObjectKey, ReconcileId};

/// Everything that the planner may know of one object at one time. `L` are its live objects: texts where they only
/// pass through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "L: Deserialize<'de>"))]
pub struct Observation<L = LiveObject> {
    /// Id of the flight.
    pub reconcile_id: ReconcileId,
    /// Cluster, as in the subjects.
    pub cluster: String,
    /// The object.
    pub key: ObjectKey,
    /// Its uid; of a gone object the last known one.
    pub uid: String,
    /// The watcher's clock. A later timestamp anywhere in here counts as this one.
    pub observed_at: Timestamp,
    /// Why the flight was sent.
    pub cause: Cause,
    /// The object; none: it is gone.
    pub object: Option<L>,
    /// What it owns, by kind (in order of creation) and name; also objects that are not its own but
    /// have a name that it would use, once a conflict has told of them.
    #[serde(default)]
    pub children: Vec<L>,
    /// Objects that it names or that name it (see [`crate::kinds::LINKS`]), by kind and name.
    #[serde(default)]
    pub linked: Vec<L>,
    /// Leases of its steps, by name.
    #[serde(default)]
    pub leases: Vec<StepLease>,
    /// The Outcome of its last flight, while this watcher remembers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<Outcome>>,
    /// `Interrupted` Outcomes in a row without a write.
    #[serde(default)]
    pub interrupted: u32,
    /// Child kinds that the cluster does not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// Kinds that can't be watched now (forbidden or broken), each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blind: Vec<String>,
    /// The Event was too large; only metadata of `object` is here.
    #[serde(default)]
    pub too_large: bool,
}

/// Why a flight was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Cause {
    /// The object's spec or metadata changed (also: it is new).
    Spec {
        /// Its generation.
        generation: i64,
    },
    /// The object got a deletionTimestamp.
    Deletion,
    /// The object is gone.
    Gone,
    /// A child or a step's Lease changed, came or went.
    Child {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A linked object changed.
    Link {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// `status.nextWake` or a `notBefore` has come.
    Timer,
    /// The last flight's Outcome asks for another look (`Interrupted`, lost, a conflict, a failure to report).
    Outcome,
    /// The command annotation changed.
    Command {
        /// The annotation.
        command: String,
    },
    /// A trigger from outside.
    Trigger {
        /// The trigger.
        trigger: Trigger,
    },
    /// A start, a takeover or the comparison with a relist.
    Resync,
}

impl Cause {
    /// The word for logs, metrics and ledger.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Spec { .. } => "spec",
            Self::Deletion => "deletion",
            Self::Gone => "gone",
            Self::Child { .. } => "child",
            Self::Link { .. } => "link",
            Self::Timer => "timer",
            Self::Outcome => "outcome",
            Self::Command { .. } => "command",
            Self::Trigger { .. } => "trigger",
            Self::Resync => "resync",
        }
    }

    /// The trigger behind it.
    #[must_use]
    pub const fn trigger(&self) -> Option<&Trigger> {
        match self {
            Self::Trigger { trigger } => Some(trigger),
            Self::Spec { .. }
            | Self::Deletion
            | Self::Gone
            | Self::Child { .. }
            | Self::Link { .. }
            | Self::Timer
            | Self::Outcome
            | Self::Command { .. }
            | Self::Resync => None,
        }
    }

    /// Who is behind it, for `lastDecision` and the record.
    #[must_use]
    pub fn actor(&self) -> String {
        match self {
            Self::Spec { .. } | Self::Deletion | Self::Gone | Self::Command { .. } => {
                "user".to_owned()
            }
            Self::Child { .. } | Self::Link { .. } => "cluster".to_owned(),
            Self::Timer => "timer".to_owned(),
            Self::Outcome | Self::Resync => "signalbox".to_owned(),
            Self::Trigger { trigger } => format!("trigger {} ({})", trigger.id, trigger.tenant),
        }
    }
}

/// The Lease of a step, judged by the watcher's own clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepLease {
    /// Name of the Lease.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resource version when it was last created, deleted or taken; renewals are not told.
    pub resource_version: String,
    /// Who holds it.
    pub holder: String,
    /// Not renewed for 6 s of the watcher's clock.
    pub ended: bool,
}
