//! What can't be planned at all: Events that were too large, objects on which the planner failed, specs
//! that it can't read.
//!
//! Decides when such an object is left alone; never how a plannable one shows its failures. Works on any
//! kind, for nothing of the object but its conditions is read.

use serde_json::{Value, json};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::{LiveObject, Observation, OutcomeResult};
use signalbox_crds::condition::{
    Condition, ConditionStatus, LastFailure, READY, RECONCILING, STALLED, Wanted, clip, merge,
};

use crate::draft::{Draft, STATUS};
use crate::failure::{PLAN, bypasses};
use crate::plan::version;
use crate::status::{action, difference};

/// Reason and class: the planner failed on the object.
const UNPLANNABLE: &str = "Unplannable";
/// Reason: the Event did not fit into a message.
const TOO_LARGE: &str = "TooLarge";
/// Reason and class: the object does not have the form that this version knows.
const UNREADABLE: &str = "Unreadable";

/// The plan for an object of which only metadata came: says so, once.
pub(crate) fn too_large(seen: &Observation, object: &LiveObject) -> Draft {
    let mut draft = Draft::new(&seen.uid);
    // The status is not to be seen, so the same bytes are written: the server takes them as no change.
    let told = seen.outcome.as_ref().is_some_and(|outcome| {
        let done = |result| matches!(result, ActionResult::Done | ActionResult::FoundDone);
        outcome
            .actions
            .iter()
            .any(|report| report.key == STATUS && done(report.result))
    });
    if told || object.deleted_at.is_some() {
        draft.wait(None, TOO_LARGE);
        return draft;
    }
    let generation = object.generation.unwrap_or_default();
    let message = "the object and what belongs to it do not fit into one message; make it smaller";
    let conditions = merge(
        &[],
        &conditions(TOO_LARGE, message),
        generation,
        object.created_at,
    );
    let status = json!({
        "observedGeneration": generation,
        "phase": phase(seen.key.kind),
        "conditions": conditions,
        "nextWake": null,
    });
    draft.push(STATUS, &generation.to_string(), action(object, status));
    draft
}

/// The plan for an object on which this version of the planner failed; none if it is to be planned.
pub(crate) fn unplannable(seen: &Observation, object: &LiveObject) -> Option<Draft> {
    let before = failure(object);
    let known = before
        .as_ref()
        .filter(|failure| failure.class == UNPLANNABLE);
    let news = seen
        .outcome
        .as_ref()
        .and_then(|outcome| match &outcome.result {
            OutcomeResult::Unplannable { message, planner } if planner == version() => {
                Some((outcome.reconcile_id.to_string(), message))
            }
            OutcomeResult::Unplannable { .. }
            | OutcomeResult::Settled
            | OutcomeResult::Waiting { .. }
            | OutcomeResult::Done
            | OutcomeResult::Failed(_)
            | OutcomeResult::Busy
            | OutcomeResult::Interrupted
            | OutcomeResult::Dead { .. } => None,
        });
    let news = news.filter(|(id, _)| known.is_none_or(|k| k.reconcile_id.as_ref() != Some(id)));
    if let Some((id, message)) = news {
        let failed = record(seen, object, known, (UNPLANNABLE, message), Some(id));
        return (!bypasses(&seen.cause, &failed)).then(|| tell(seen, object, &failed));
    }
    let known = known?;
    let same = known.message.starts_with(&prefix())
        && known.generation == object.generation.unwrap_or_default();
    (same && !bypasses(&seen.cause, known)).then(|| {
        let mut draft = Draft::new(&seen.uid);
        draft.wait(None, STALLED);
        draft
    })
}

/// The plan for an object that does not have the form that this version knows.
pub(crate) fn unreadable(seen: &Observation, object: &LiveObject, message: &str) -> Draft {
    let before = failure(object).filter(|failure| failure.class == UNREADABLE);
    let mut failed = record(seen, object, before.as_ref(), (UNREADABLE, message), None);
    if let Some(before) = before.filter(|b| b.message == failed.message) {
        failed = LastFailure {
            generation: failed.generation,
            ..before
        };
    }
    tell(seen, object, &failed)
}

fn record(
    seen: &Observation,
    object: &LiveObject,
    before: Option<&LastFailure>,
    (class, message): (&str, &str),
    reconcile_id: Option<String>,
) -> LastFailure {
    LastFailure {
        action: PLAN.to_owned(),
        class: class.to_owned(),
        message: clip(&format!("{}{message}", prefix()), 1024),
        attempts: before.map_or(0, |b| b.attempts).saturating_add(1),
        since: before.map_or(seen.observed_at, |b| b.since),
        last: seen.observed_at,
        generation: object.generation.unwrap_or_default(),
        until: None,
        reconcile_id,
    }
}

/// One status write, if status does not say so already.
fn tell(seen: &Observation, object: &LiveObject, failed: &LastFailure) -> Draft {
    let mut draft = Draft::new(&seen.uid);
    draft.wait(None, STALLED);
    if object.deleted_at.is_some() {
        return draft;
    }
    let old = object.at("/status").cloned().unwrap_or_else(|| json!({}));
    let before: Vec<Condition> = old
        .get("conditions")
        .and_then(|conditions| serde_json::from_value(conditions.clone()).ok())
        .unwrap_or_default();
    let wanted = conditions(&failed.class, &failed.message);
    let mut new = old.clone();
    if let Value::Object(fields) = &mut new {
        fields.insert("observedGeneration".to_owned(), json!(failed.generation));
        fields.insert("phase".to_owned(), json!(phase(seen.key.kind)));
        let merged = merge(&before, &wanted, failed.generation, seen.observed_at);
        fields.insert("conditions".to_owned(), json!(merged));
        fields.insert("lastFailure".to_owned(), json!(failed));
        fields.remove("nextWake");
    }
    if let Some(patch) = difference(&old, &new) {
        draft.push(
            STATUS,
            &seen.reconcile_id.to_string(),
            action(object, patch),
        );
    }
    draft
}

fn conditions<'a>(reason: &'a str, message: &str) -> [Wanted<'a>; 3] {
    [
        (READY, ConditionStatus::False),
        (RECONCILING, ConditionStatus::False),
        (STALLED, ConditionStatus::True),
    ]
    .map(|(type_, status)| Wanted {
        type_,
        status,
        reason,
        message: message.to_owned(),
    })
}

const fn phase(kind: Kind) -> &'static str {
    match kind {
        Kind::PortfolioApp => "Stalled",
        Kind::DatabaseMigration => "Failed",
    }
}

fn failure(object: &LiveObject) -> Option<LastFailure> {
    serde_json::from_value(object.at("/status/lastFailure")?.clone()).ok()
}

/// What a message begins with: which version could not plan.
fn prefix() -> String {
    format!("planner {}: ", version())
}

#[cfg(test)]
mod tests {
    use signalbox_common::wire::{Action, Cause, Verdict};

    use super::*;
    use crate::plan;

    fn seen(planner: &str) -> Observation {
        let text = include_str!("../tests/inputs/migration/fresh.json");
        let mut seen: Observation = serde_json::from_str(text).unwrap();
        seen.cause = Cause::Outcome;
        let outcome = json!({"schema": 1, "reconcileId": "00000000-0000-4000-8000-000000000009",
            "key": seen.key, "uid": seen.uid, "by": "planner/a",
            "result": {"type": "unplannable", "message": "index", "planner": planner}});
        seen.outcome = serde_json::from_value(outcome).unwrap();
        seen
    }

    fn status(verdict: Verdict) -> Value {
        let Verdict::Act { mut actions } = verdict else {
            panic!("no action")
        };
        assert_eq!(actions.len(), 1);
        let Action::PatchStatus(patch) = actions.remove(0).action else {
            panic!("no status")
        };
        patch.status
    }

    #[test]
    fn what_this_version_could_not_plan_is_told_once_and_left_alone() {
        let mut seen = seen(version());
        let told = status(plan(&seen).verdict);
        assert_eq!(told["conditions"][2]["reason"], UNPLANNABLE);
        assert_eq!(told["lastFailure"]["attempts"], 1);
        if let Some(object) = &mut seen.object {
            object.content["status"] = told;
        }
        for outcome in [seen.outcome.clone(), None] {
            seen.outcome = outcome;
            assert!(matches!(
                plan(&seen).verdict,
                Verdict::Waiting { until: None, .. }
            ));
        }
        seen.cause = Cause::Spec { generation: 1 };
        assert!(
            matches!(plan(&seen).verdict, Verdict::Act { .. }),
            "a change is planned"
        );
        seen.cause = Cause::Resync;
        if let Some(object) = &mut seen.object {
            let message = "planner 0.0.1+rules.0: index";
            object.content["status"]["lastFailure"]["message"] = json!(message);
        }
        let Verdict::Act { actions } = plan(&seen).verdict else {
            panic!("another version plans")
        };
        assert!(actions.iter().any(|planned| planned.key == "migrate-1"));
    }

    #[test]
    fn what_was_too_large_is_told_until_the_write_is_done() {
        let mut seen = seen(version());
        seen.too_large = true;
        let first = plan(&seen).verdict;
        assert_eq!(status(first)["conditions"][2]["reason"], TOO_LARGE);
        if let Some(outcome) = &mut seen.outcome {
            let report = json!([{"key": STATUS, "id": outcome.reconcile_id, "result": "done"}]);
            outcome.actions = serde_json::from_value(report).unwrap();
        }
        assert!(matches!(plan(&seen).verdict, Verdict::Waiting { .. }));
    }
}
