//! Triggers: what the world may ask for over the bus, a closed set.
//!
//! A trigger changes one field of one object; everything else follows from that change as from `kubectl`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the key of the action that applies a trigger begins with.
pub const ACTION: &str = "trigger/";

/// A trigger, as taken from a `CloudEvent` on `sb.trigger.<tenant>.<kind>.<namespace>.<name>.<verb>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// Id of the `CloudEvent`: a repeated one is a recorded no-op.
    pub id: String,
    /// Source of the `CloudEvent`.
    pub source: String,
    /// Time of the `CloudEvent`: one older than the last applied trigger is a recorded no-op.
    pub time: Timestamp,
    /// Tenant, from the subject.
    pub tenant: String,
    /// What is asked for.
    pub verb: Verb,
    /// Why, for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a trigger asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Verb {
    /// `set-image`: `spec.image` of a `PortfolioApp`.
    SetImage {
        /// The image, as given.
        image: String,
    },
    /// `restart`: a new revision of a `PortfolioApp` without any other change.
    Restart,
}

impl Verb {
    /// The last token of the subject.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::SetImage { .. } => "set-image",
            Self::Restart => "restart",
        }
    }
}
