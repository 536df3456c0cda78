//! Error classes: the only path from an error to a behaviour.
//!
//! Every error of a part that does IO has a class; nothing else about it decides what happens next.

use serde::{Deserialize, Serialize};

/// What kind of failure it is, and so what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ErrorClass {
    /// Timeout, 5xx, lost connection: tried again after a backoff.
    Transient,
    /// 429 or an open breaker: tried again after the time that the server named.
    Throttled,
    /// 409, stale version: observed anew at once.
    Conflict,
    /// Something with our child's name belongs to somebody else: `NameTaken`, tried again rarely or on a change.
    NameTaken,
    /// 401 or 403: a right is missing; tried again rarely or on a change.
    Forbidden,
    /// A referenced object (Secret, `ConfigMap`, key) does not exist: tried again after a backoff or on a change.
    Missing,
    /// 422, refused SQL, unknown version: needs help. What a server refused is tried again rarely or on a change
    /// (docs/adr/0009), SQL never without a change.
    Invalid,
    /// The effect may or may not have happened: a person decides.
    Ambiguous,
    /// The part itself is broken (lost identity, corrupt state): it ends with exit code 2.
    Fatal,
}

impl ErrorClass {
    /// All classes, in order.
    pub const ALL: [Self; 9] = [
        Self::Transient,
        Self::Throttled,
        Self::Conflict,
        Self::NameTaken,
        Self::Forbidden,
        Self::Missing,
        Self::Invalid,
        Self::Ambiguous,
        Self::Fatal,
    ];

    /// The word for metrics, Events and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Transient => "Transient",
            Self::Throttled => "Throttled",
            Self::Conflict => "Conflict",
            Self::NameTaken => "NameTaken",
            Self::Forbidden => "Forbidden",
            Self::Missing => "Missing",
            Self::Invalid => "Invalid",
            Self::Ambiguous => "Ambiguous",
            Self::Fatal => "Fatal",
        }
    }

    /// The class of a label, if it is one.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.label() == label)
    }
}

/// An error with a class and a closed set of labels.
pub trait Classify {
    /// Decides what happens next.
    fn class(&self) -> ErrorClass;
}
