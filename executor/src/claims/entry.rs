//! The entry `status.claims.<step>`: pure patches and the judgement whose it is.
//!
//! Decides whether a result may still be written; never talks to anything.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::id::StepId;
use signalbox_crds::claim::{Claim, ClaimState};
use signalbox_crds::condition::clip;

/// Longest message in status.
const MESSAGE: usize = 1024;

/// One claim of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) step: String,
    pub(super) step_id: StepId,
    pub(super) attempt: u32,
    pub(super) executor: String,
    pub(super) lease: String,
    pub(super) started_at: Timestamp,
}

/// What came of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) state: ClaimState,
    pub(super) class: Option<ErrorClass>,
    pub(super) message: Option<String>,
    pub(super) effect_ms: Option<i64>,
    pub(super) found_done: bool,
}

impl Finished {
    /// The effect failed (or nobody knows, by its class).
    pub(super) fn failed(class: ErrorClass, message: &str) -> Self {
        let state = if class == ErrorClass::Ambiguous {
            ClaimState::Ambiguous
        } else {
            ClaimState::Failed
        };
        let message = Some(clip(message, MESSAGE));
        Self {
            state,
            class: Some(class),
            message,
            effect_ms: None,
            found_done: false,
        }
    }

    /// The work was cancelled and left nothing behind.
    pub(super) fn cancelled(why: &str) -> Self {
        let message = Some(clip(why, MESSAGE));
        Self {
            state: ClaimState::Cancelled,
            class: None,
            message,
            effect_ms: None,
            found_done: false,
        }
    }

    /// The word for logs and ledger.
    pub(super) const fn label(&self) -> &'static str {
        match self.state {
            ClaimState::Running => "Running",
            ClaimState::Succeeded => "Succeeded",
            ClaimState::Failed => "Failed",
            ClaimState::Cancelled => "Cancelled",
            ClaimState::Ambiguous => "Ambiguous",
        }
    }
}

/// Whose an entry is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Ours, without a result.
    Open,
    /// Ours, with a result.
    Closed,
    /// Another's, or none.
    NotOurs,
}

impl Entry {
    /// The claim, fenced. What an earlier attempt left in the entry goes.
    pub(super) fn claim(&self, uid: &str, version: &str) -> Value {
        let claim = Claim {
            step_id: self.step_id.to_string(),
            attempt: self.attempt,
            executor: self.executor.clone(),
            lease: self.lease.clone(),
            state: ClaimState::Running,
            started_at: self.started_at,
            cancelled_at: None,
            finished_at: None,
            class: None,
            message: None,
            effect_ms: None,
            found_done: false,
        };
        let mut claim = json!(claim);
        if let Some(fields) = claim.as_object_mut() {
            for stale in ["cancelledAt", "finishedAt", "class", "message", "effectMs"] {
                fields.entry(stale).or_insert(Value::Null);
            }
        }
        self.patch(uid, version, &claim)
    }

    /// The result, fenced; touches nothing but this entry.
    pub(super) fn result(
        &self,
        uid: &str,
        version: &str,
        finished: &Finished,
        at: Timestamp,
    ) -> Value {
        let fields = json!({
            "state": finished.state,
            "finishedAt": at,
            "class": finished.class.map(ErrorClass::label),
            "message": finished.message,
            "effectMs": finished.effect_ms,
            "foundDone": finished.found_done,
        });
        self.patch(uid, version, &fields)
    }

    fn patch(&self, uid: &str, version: &str, fields: &Value) -> Value {
        json!({
            "metadata": { "uid": uid, "resourceVersion": version },
            "status": { "claims": { &self.step: fields } },
        })
    }

    /// Whose the entry is in a live object.
    pub(super) fn standing(&self, live: &Value, uid: &str) -> Standing {
        let claim = live
            .pointer("/status/claims")
            .and_then(|claims| claims.get(&self.step));
        let text = |field: &str| {
            claim
                .and_then(|claim| claim.get(field))
                .and_then(Value::as_str)
        };
        let attempt = claim
            .and_then(|claim| claim.get("attempt"))
            .and_then(Value::as_u64);
        let ours = crate::conflict::uid_of(live) == uid
            && text("stepId") == Some(self.step_id.to_string().as_str())
            && text("executor") == Some(self.executor.as_str())
            && text("lease") == Some(self.lease.as_str())
            && attempt == Some(u64::from(self.attempt));
        match (ours, text("state")) {
            (false, _) => Standing::NotOurs,
            (true, Some("Running")) => Standing::Open,
            (true, _) => Standing::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::json::merged;

    fn entry() -> Entry {
        Entry {
            step: "migrate-1".to_owned(),
            step_id: StepId::new("u", "migrate-1", "x"),
            attempt: 2,
            executor: "e1".to_owned(),
            lease: "sb-1-2".to_owned(),
            started_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn object() -> Value {
        json!({ "metadata": { "uid": "u", "resourceVersion": "1" }, "status": { "claims": {
            "migrate-1": { "attempt": 1, "state": "Failed", "class": "Transient", "message": "x",
                "finishedAt": "1970-01-01T00:00:00Z", "cancelledAt": "1970-01-01T00:00:00Z", "effectMs": 3 },
            "migrate-0": { "state": "Succeeded" },
        } } })
    }

    #[test]
    fn a_claim_leaves_nothing_of_the_attempt_before() {
        let entry = entry();
        assert_eq!(entry.standing(&object(), "u"), Standing::NotOurs);
        let live = merged(Some(&object()), &entry.claim("u", "1"));
        assert_eq!(entry.standing(&live, "u"), Standing::Open);
        let claim = live["status"]["claims"]["migrate-1"].as_object().unwrap();
        for stale in ["cancelledAt", "finishedAt", "class", "message", "effectMs"] {
            assert!(!claim.contains_key(stale), "{stale}");
        }
        assert_eq!(live["status"]["claims"]["migrate-0"]["state"], "Succeeded");
        let read: Claim = serde_json::from_value(Value::Object(claim.clone())).unwrap();
        assert_eq!(read.state, ClaimState::Running);
    }

    #[test]
    fn a_result_closes_its_own_entry_only() {
        let entry = entry();
        let live = merged(Some(&object()), &entry.claim("u", "1"));
        let failed = Finished::failed(ErrorClass::Transient, "lock");
        let done = merged(
            Some(&live),
            &entry.result("u", "2", &failed, Timestamp::UNIX_EPOCH),
        );
        assert_eq!(entry.standing(&done, "u"), Standing::Closed);
        assert_eq!(done["status"]["claims"]["migrate-1"]["class"], "Transient");
        assert_eq!(entry.standing(&live, "other uid"), Standing::NotOurs);
        let other = Entry {
            attempt: 3,
            ..entry
        };
        assert_eq!(other.standing(&live, "u"), Standing::NotOurs);
    }

    #[test]
    fn what_nobody_knows_is_ambiguous() {
        assert_eq!(
            Finished::failed(ErrorClass::Ambiguous, "x").state,
            ClaimState::Ambiguous
        );
        assert_eq!(
            Finished::failed(ErrorClass::Invalid, "x").state,
            ClaimState::Failed
        );
        assert_eq!(Finished::cancelled("x").label(), "Cancelled");
    }
}
