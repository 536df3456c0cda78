//! Why an action could not be done: one class, one sentence, and what the next plan needs to know.
//!
//! Decides the class of every answer of the API server; never decides what happens next, which
//! rests on the class alone.

use std::time::Duration;

use signalbox_common::class::{Classify, ErrorClass};
use signalbox_common::wire::LiveObject;

/// Why an action could not be done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct ActionError {
    /// Decides what happens next.
    pub(crate) class: ErrorClass,
    /// For people; never holds data of a Secret.
    pub(crate) message: String,
    /// HTTP status, where a server answered.
    pub(crate) code: Option<u16>,
    /// A request was sent and its answer was not seen: the write may have happened.
    pub(crate) unanswered: bool,
    /// No room for a long step: the Outcome is `Busy`, not `Failed`.
    pub(crate) busy: bool,
    /// The live object behind a conflict, trimmed.
    pub(crate) live: Option<Box<LiveObject>>,
    /// How long the server asks to wait.
    pub(crate) retry_after: Option<Duration>,
}

impl Classify for ActionError {
    fn class(&self) -> ErrorClass {
        self.class
    }
}

impl ActionError {
    /// An error of a class.
    pub(crate) fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            code: None,
            unanswered: false,
            busy: false,
            live: None,
            retry_after: None,
        }
    }

    /// Something that the action rests on is no longer as the planner saw it.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Conflict, message)
    }

    /// No place for a long step: the Outcome is `Busy`.
    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self {
            busy: true,
            ..Self::new(ErrorClass::Throttled, message)
        }
    }

    /// The plan may send no further request.
    pub(crate) fn stopped() -> Self {
        Self::new(
            ErrorClass::Transient,
            "stopped: the plan's time is over, or its delivery could not be extended",
        )
    }

    /// With the live object behind it.
    pub(crate) fn with_live(mut self, live: Option<LiveObject>) -> Self {
        self.live = live.map(Box::new);
        self
    }

    /// The class of a status code of the API server.
    pub(crate) const fn class_of(code: u16) -> ErrorClass {
        match code {
            401 | 403 => ErrorClass::Forbidden,
            404 | 410 => ErrorClass::Missing,
            409 | 412 => ErrorClass::Conflict,
            429 => ErrorClass::Throttled,
            400..=499 => ErrorClass::Invalid,
            _ => ErrorClass::Transient,
        }
    }

    /// What a server's answer means for `verb` on `resource` (such as `get services`).
    pub(crate) fn from_status(
        what: &str,
        namespace: &str,
        code: u16,
        message: &str,
        retry_after: Option<Duration>,
    ) -> Self {
        let class = if is_policy(code, message) {
            ErrorClass::Forbidden
        } else {
            Self::class_of(code)
        };
        let text = format!("failed to {what} in namespace {namespace}: {message} ({code})");
        Self {
            code: Some(code),
            retry_after,
            unanswered: code == 504,
            ..Self::new(class, signalbox_crds::condition::clip(&text, 1024))
        }
    }

    /// What an error of the client means for `verb` on `resource` (such as `get secrets web`).
    pub(crate) fn from_kube(what: &str, namespace: &str, err: &kube::Error) -> Self {
        if let kube::Error::Api(status) = err {
            let wait = status
                .details
                .as_ref()
                .map(|d| d.retry_after_seconds)
                .filter(|s| *s > 0);
            let wait = wait.map(|seconds| Duration::from_secs(seconds.into()));
            return Self::from_status(what, namespace, status.code, &status.message, wait);
        }
        let text = format!("failed to {what} in namespace {namespace}: {err}");
        Self {
            unanswered: true,
            ..Self::new(
                ErrorClass::Transient,
                signalbox_crds::condition::clip(&text, 1024),
            )
        }
    }
}

/// Whether somebody's admission policy or webhook refused what the API server itself would take. That is no fault of
/// the object: it may pass without a change of it.
fn is_policy(code: u16, message: &str) -> bool {
    let denied = ["denied request: ", "denied the request"];
    (400..=499).contains(&code) && denied.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A regression test: what an admission policy had refused was never tried again, also not without the policy.
    #[test]
    fn a_policy_that_denies_is_no_fault_of_the_object() {
        let policy = "services \"web\" is forbidden: ValidatingAdmissionPolicy 'freeze' with binding 'freeze' \
                      denied request: not now";
        let webhook = "admission webhook \"guard.example.com\" denied the request: not now";
        for (code, message) in [(422, policy), (400, webhook)] {
            let err = ActionError::from_status("patch services web", "team-a", code, message, None);
            assert_eq!(err.class(), ErrorClass::Forbidden, "{message}");
        }
        let wrong = "Service \"web\" is invalid: spec.ports: Required value";
        let err = ActionError::from_status("patch services web", "team-a", 422, wrong, None);
        assert_eq!(err.class(), ErrorClass::Invalid);
    }

    #[test]
    fn only_the_code_decides_the_class() {
        for (code, class) in [
            (400, ErrorClass::Invalid),
            (401, ErrorClass::Forbidden),
            (403, ErrorClass::Forbidden),
            (404, ErrorClass::Missing),
            (409, ErrorClass::Conflict),
            (422, ErrorClass::Invalid),
            (429, ErrorClass::Throttled),
            (500, ErrorClass::Transient),
            (503, ErrorClass::Transient),
            (504, ErrorClass::Transient),
        ] {
            assert_eq!(ActionError::class_of(code), class, "{code}");
        }
    }

    #[test]
    fn a_missing_right_names_verb_resource_and_namespace() {
        let err = ActionError::from_status("patch services web", "team-a", 403, "no", None);
        assert_eq!(err.class(), ErrorClass::Forbidden);
        assert_eq!(
            err.to_string(),
            "failed to patch services web in namespace team-a: no (403)"
        );
    }
}
