//! The order of a plan's actions: pure.
//!
//! Decides which actions may begin; stops handing out any after the first failure.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_common::wire::plan::PlannedAction;

/// Which actions are done, begun, and may begin.
#[derive(Debug)]
pub(super) struct Schedule {
    /// What each still waits for, by its place in the plan.
    waiting: BTreeMap<usize, BTreeSet<String>>,
    stopped: bool,
}

impl Schedule {
    /// The schedule of a plan.
    ///
    /// # Errors
    /// Why the plan has none: a key twice, an `after` that names nothing, a circle.
    pub(super) fn new(actions: &[PlannedAction]) -> Result<Self, String> {
        let mut before = BTreeSet::new();
        let mut waiting = BTreeMap::new();
        for (place, action) in actions.iter().enumerate() {
            // The order of the plan respects `after`, so a circle names what has not come yet.
            if let Some(unknown) = action.after.iter().find(|key| !before.contains(*key)) {
                return Err(format!(
                    "{} is after {unknown}, which is not before it",
                    action.key
                ));
            }
            if !before.insert(action.key.clone()) {
                return Err(format!("two actions are called {}", action.key));
            }
            waiting.insert(place, action.after.iter().cloned().collect());
        }
        if waiting.is_empty() {
            return Err("a plan to act has no actions".to_owned());
        }
        Ok(Self {
            waiting,
            stopped: false,
        })
    }

    /// Hands out what may begin now.
    pub(super) fn begin(&mut self) -> Vec<usize> {
        if self.stopped {
            return Vec::new();
        }
        let ready =
            |(place, after): (&usize, &BTreeSet<String>)| after.is_empty().then_some(*place);
        let places: Vec<usize> = self.waiting.iter().filter_map(ready).collect();
        for place in &places {
            self.waiting.remove(place);
        }
        places
    }

    /// The action called `key` is done.
    pub(super) fn done(&mut self, key: &str) {
        for after in self.waiting.values_mut() {
            after.remove(key);
        }
    }

    /// One failed: none begins any more.
    pub(super) const fn stop(&mut self) {
        self.stopped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::id::StepId;
    use signalbox_common::wire::Action;
    use signalbox_common::wire::action::EmitEvent;

    fn action(key: &str, after: &[&str]) -> PlannedAction {
        let event = EmitEvent {
            warning: false,
            reason: String::new(),
            action: String::new(),
            note: String::new(),
        };
        PlannedAction {
            key: key.to_owned(),
            id: StepId::new("uid", key, ""),
            after: after.iter().map(|&key| key.to_owned()).collect(),
            guards: Vec::new(),
            action: Action::EmitEvent(event),
        }
    }

    #[test]
    fn independent_ones_side_by_side_and_others_in_order() {
        let actions = [action("a", &[]), action("b", &[]), action("c", &["a", "b"])];
        let mut schedule = Schedule::new(&actions).unwrap();
        assert_eq!(schedule.begin(), [0, 1]);
        assert!(schedule.begin().is_empty());
        schedule.done("b");
        assert!(schedule.begin().is_empty());
        schedule.done("a");
        assert_eq!(schedule.begin(), [2]);
    }

    #[test]
    fn nothing_begins_after_a_failure() {
        let actions = [action("a", &[]), action("b", &[]), action("c", &["b"])];
        let mut schedule = Schedule::new(&actions).unwrap();
        assert_eq!(schedule.begin(), [0, 1]);
        schedule.stop();
        schedule.done("b");
        assert!(schedule.begin().is_empty());
    }

    #[test]
    fn what_has_no_order_is_refused() {
        assert!(Schedule::new(&[]).is_err());
        assert!(Schedule::new(&[action("a", &[]), action("a", &[])]).is_err());
        assert!(Schedule::new(&[action("a", &["b"]), action("b", &["a"])]).is_err());
        assert!(Schedule::new(&[action("a", &["a"])]).is_err());
    }
}
