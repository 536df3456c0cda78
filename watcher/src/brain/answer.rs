//! What a trigger's sender is told, from the Outcome of the trigger's flight.
//!
//! Decides between applied, no-op, refused and another try; never sends anything.

use signalbox_common::class::ErrorClass;
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::{Outcome, OutcomeResult, trigger};

use crate::triggers::Answer;

/// What the sender is told; none: the trigger is tried again.
pub(super) fn of(outcome: &Outcome) -> Option<(Answer, String)> {
    match &outcome.result {
        OutcomeResult::Settled => Some((Answer::NoOp, "nothing to change".to_owned())),
        OutcomeResult::Waiting { on, .. } => Some((Answer::NoOp, format!("waiting: {on}"))),
        OutcomeResult::Done => {
            // What an earlier plan may still write is fenced beside it, which applies nothing.
            let mut actions = outcome.actions.iter();
            let applied = actions.any(|action| {
                action.key.starts_with(trigger::ACTION) && action.result == ActionResult::Done
            });
            Some(if applied {
                (Answer::Applied, "done".to_owned())
            } else {
                (Answer::NoOp, "found done".to_owned())
            })
        }
        OutcomeResult::Failed(failure) => match failure.class {
            ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Conflict => None,
            ErrorClass::NameTaken
            | ErrorClass::Forbidden
            | ErrorClass::Missing
            | ErrorClass::Invalid
            | ErrorClass::Ambiguous
            | ErrorClass::Fatal => Some((Answer::Refused, failure.message.clone())),
        },
        OutcomeResult::Busy | OutcomeResult::Interrupted => None,
        OutcomeResult::Unplannable { message, .. } => Some((Answer::Refused, message.clone())),
        OutcomeResult::Dead { reason } => Some((Answer::Refused, reason.clone())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(actions: &[(&str, &str)]) -> Option<(Answer, String)> {
        let actions: Vec<_> = actions
            .iter()
            .map(|(key, result)| {
                json!({ "key": key, "id": "00000000-0000-4000-8000-000000000001", "result": result })
            })
            .collect();
        let outcome = json!({
            "schema": 1, "reconcileId": "00000000-0000-4000-8000-000000000002",
            "key": { "kind": "PortfolioApp", "namespace": "team", "name": "web" }, "uid": "u",
            "by": "executor/a", "result": { "type": "done" }, "actions": actions,
        });
        of(&serde_json::from_value(outcome).unwrap())
    }

    #[test]
    fn a_trigger_is_applied_once_its_own_action_is() {
        let applied = Some((Answer::Applied, "done".to_owned()));
        assert_eq!(told(&[("trigger/set-image", "done")]), applied);
        let found = Some((Answer::NoOp, "found done".to_owned()));
        assert_eq!(told(&[("trigger/set-image", "foundDone")]), found);
    }

    /// Seed 8045: a trigger of the past was told to be applied, since an interrupted plan was fenced in its flight.
    #[test]
    fn a_fence_beside_it_applies_no_trigger() {
        let found = Some((Answer::NoOp, "found done".to_owned()));
        assert_eq!(told(&[("fence/PortfolioApp/web", "done")]), found);
    }
}
