//! The draft of a plan: actions in the making, and what is waited for if there are none.
//!
//! Decides the order of the actions and the ids of their steps; never what is done.

use jiff::Timestamp;
use signalbox_common::id::StepId;
use signalbox_common::wire::plan::Guard;
use signalbox_common::wire::{Action, PlannedAction, Verdict};

/// Key of the action that writes the object's own status: at most one of a plan.
pub(crate) const STATUS: &str = "status";

/// What a kind decided, before it becomes a plan.
#[derive(Debug)]
pub(crate) struct Draft {
    /// What is done, in any order.
    pub(crate) actions: Vec<PlannedAction>,
    /// What is waited for, and until when if time alone may end it: told when there are no actions.
    pub(crate) wait: Option<(Option<Timestamp>, String)>,
    /// Uid of the object: part of every step's id.
    uid: String,
}

impl Draft {
    /// A draft without actions for the object `uid`.
    pub(crate) fn new(uid: impl Into<String>) -> Self {
        Self {
            actions: Vec::new(),
            wait: None,
            uid: uid.into(),
        }
    }

    /// Adds an action; `occurrence` is what makes its step a new wish (see [`StepId::new`]).
    pub(crate) fn push(
        &mut self,
        key: impl Into<String>,
        occurrence: &str,
        action: Action,
    ) -> &mut PlannedAction {
        let key = key.into();
        let planned = PlannedAction {
            id: StepId::new(&self.uid, &key, occurrence),
            key,
            after: Vec::new(),
            guards: Vec::new(),
            action,
        };
        let at = self.actions.len();
        self.actions.push(planned);
        #[expect(
            clippy::indexing_slicing,
            reason = "the entry was just pushed at this index"
        )]
        &mut self.actions[at]
    }

    /// Notes what is waited for.
    pub(crate) fn wait(&mut self, until: Option<Timestamp>, on: impl Into<String>) {
        self.wait = Some((until, on.into()));
    }

    /// Keys of all actions so far, in order of addition.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.actions
            .iter()
            .map(|planned| planned.key.clone())
            .collect()
    }

    /// The verdict: actions in an order that respects `after`, else the wait, else settled.
    pub(crate) fn into_verdict(self) -> Verdict {
        if !self.actions.is_empty() {
            return Verdict::Act {
                actions: ordered(self.actions),
            };
        }
        match self.wait {
            Some((until, on)) => Verdict::Waiting { until, on },
            None => Verdict::Settled,
        }
    }
}

/// What an action rests on, added in passing.
pub(crate) trait Dependent {
    /// Done only after the actions `keys`.
    fn after<K: AsRef<str>>(&mut self, keys: &[K]) -> &mut Self;
    /// Done only while `guard` holds.
    fn guard(&mut self, guard: Guard) -> &mut Self;
}

impl Dependent for PlannedAction {
    fn after<K: AsRef<str>>(&mut self, keys: &[K]) -> &mut Self {
        for key in keys.iter().map(AsRef::as_ref) {
            if key != self.key && !self.after.iter().any(|known| known == key) {
                self.after.push(key.to_owned());
            }
        }
        self
    }

    fn guard(&mut self, guard: Guard) -> &mut Self {
        self.guards.push(guard);
        self
    }
}

/// `actions` in their order, but none before what it comes after. A key that names no action is dropped
/// from `after`; a cycle (a defect) is cut where it is met first.
fn ordered(mut actions: Vec<PlannedAction>) -> Vec<PlannedAction> {
    let known: Vec<String> = actions.iter().map(|planned| planned.key.clone()).collect();
    for planned in &mut actions {
        planned.after.retain(|key| known.contains(key));
    }
    let mut done: Vec<PlannedAction> = Vec::with_capacity(actions.len());
    while !actions.is_empty() {
        let free = actions.iter().position(|planned| {
            planned
                .after
                .iter()
                .all(|key| done.iter().any(|earlier| &earlier.key == key))
        });
        let mut next = actions.remove(free.unwrap_or(0));
        if free.is_none() {
            next.after
                .retain(|key| done.iter().any(|earlier| &earlier.key == key));
        }
        done.push(next);
    }
    done
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use signalbox_common::wire::action::PatchStatus;

    use super::*;

    fn action() -> Action {
        Action::PatchStatus(PatchStatus {
            resource_version: "1".to_owned(),
            seen: String::new(),
            status: json!({}),
        })
    }

    fn keys(verdict: Verdict) -> Vec<String> {
        match verdict {
            Verdict::Act { actions } => actions.into_iter().map(|planned| planned.key).collect(),
            Verdict::Settled | Verdict::Waiting { .. } => Vec::new(),
        }
    }

    #[test]
    fn actions_come_after_what_they_depend_on() {
        let mut draft = Draft::new("uid");
        draft
            .push("status", "1", action())
            .after(&["b", "a", "nobody"]);
        draft.push("b", "1", action()).after(&["a"]);
        draft.push("a", "1", action());
        assert_eq!(keys(draft.into_verdict()), ["a", "b", "status"]);
    }

    #[test]
    fn a_cycle_is_cut_and_nothing_is_lost() {
        let mut draft = Draft::new("uid");
        draft.push("a", "1", action()).after(&["b"]);
        draft.push("b", "1", action()).after(&["a"]);
        assert_eq!(keys(draft.into_verdict()), ["a", "b"]);
    }

    #[test]
    fn no_action_is_settled_or_waiting() {
        assert_eq!(Draft::new("uid").into_verdict(), Verdict::Settled);
        let mut draft = Draft::new("uid");
        draft.wait(None, "Release");
        assert_eq!(
            draft.into_verdict(),
            Verdict::Waiting {
                until: None,
                on: "Release".to_owned()
            }
        );
    }
}
