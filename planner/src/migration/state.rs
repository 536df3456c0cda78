//! How far a migration is, and how its status says so.
//!
//! Decides phase and conditions from a state; never the state.

use signalbox_crds::condition::{ConditionStatus, READY, RECONCILING, STALLED, Wanted};

/// How far a migration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// All files that may run are applied; the text says which may not.
    Applied(Option<String>),
    /// The app has released nothing yet.
    AwaitingRelease,
    /// The digests of the files are read.
    Resolving,
    /// A file is being applied (or its work is being cancelled).
    Running(String),
    /// Something failed and is tried again later: reason and message.
    Retrying(String, String),
    /// `spec.paused`, with files left to apply.
    Paused,
    /// No progress without help: reason and message.
    Stalled(String, String),
}

/// Reason of Stalled where nobody can know whether a file is applied.
pub(super) const AMBIGUOUS: &str = "Ambiguous";

impl State {
    /// The summary for people.
    pub(super) fn phase(&self) -> &'static str {
        match self {
            Self::Applied(None) => "Applied",
            Self::Applied(Some(_)) | Self::AwaitingRelease => "AwaitingRelease",
            Self::Resolving | Self::Retrying(..) => "Pending",
            Self::Running(_) => "Running",
            Self::Paused => "Paused",
            Self::Stalled(reason, _) if reason == AMBIGUOUS => "Ambiguous",
            Self::Stalled(..) => "Failed",
        }
    }

    /// Reason and message, for conditions and decisions.
    pub(super) fn why(&self) -> (&str, String) {
        match self {
            Self::Applied(None) => ("Applied", "all files are applied".to_owned()),
            Self::Applied(Some(rest)) => ("Released", rest.clone()),
            Self::AwaitingRelease => (
                "AwaitingRelease",
                "the app has not released anything yet".to_owned(),
            ),
            Self::Resolving => (
                "Resolving",
                "the files of the ConfigMap are being read".to_owned(),
            ),
            Self::Running(message) => ("Running", message.clone()),
            Self::Retrying(reason, message) | Self::Stalled(reason, message) => {
                (reason, message.clone())
            }
            Self::Paused => (
                "Paused",
                "spec.paused holds the files that are left".to_owned(),
            ),
        }
    }

    /// The three conditions.
    pub(super) fn conditions(&self) -> [Wanted<'_>; 3] {
        let (ready, reconciling, stalled) = match self {
            Self::Applied(_) => (true, false, false),
            Self::AwaitingRelease | Self::Resolving | Self::Running(_) | Self::Retrying(..) => {
                (false, true, false)
            }
            Self::Paused => (false, false, false),
            Self::Stalled(..) => (false, false, true),
        };
        let (reason, message) = self.why();
        [
            (READY, ready),
            (RECONCILING, reconciling),
            (STALLED, stalled),
        ]
        .map(|(type_, holds)| Wanted {
            type_,
            status: if holds {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            },
            reason,
            message: message.clone(),
        })
    }
}
