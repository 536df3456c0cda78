//! Outcomes: what was written, what is waited for, and what a trigger's sender is told.

use std::time::Duration;

use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::outcome::Written;
use signalbox_common::wire::{Outcome, OutcomeResult};

use super::{Brain, Phase};
use crate::outcomes::Arrived;
use crate::queue::{Version, number};

/// The longest wait that an Outcome may ask for.
const LONGEST: Duration = Duration::from_mins(5);
/// A wait that is over already ends a moment later, so that no loop is tight.
const SOON: Duration = Duration::from_millis(50);

impl Brain {
    pub(super) fn arrived(&mut self, arrived: Arrived) {
        if self.phase == Phase::Standby {
            return;
        }
        let now = self.now();
        match arrived {
            Arrived::Outcome(outcome) => self.outcome(&outcome),
            Arrived::Unreadable(key) => self.queue.give_up(&key, now),
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let key = &outcome.key;
        let now = self.now();
        let unseen = self.unseen(outcome);
        // By the executor's clock, which may be another: a server's own words never ask for more.
        let not_before = outcome
            .not_before
            .map(|time| self.at(time).min(now + LONGEST));
        tracing::debug!(
            %key, reconcile_id = %outcome.reconcile_id, result = outcome.result.label(),
            by = outcome.by, unseen = unseen.len(), "outcome"
        );
        let ended = self.queue.outcome(outcome, &unseen, not_before, now);
        let live = outcome.live.as_ref();
        let seen = live.and_then(|live| self.cache.version_of(&live.uid));
        self.conflicts.note(outcome, seen);
        let until = match &outcome.result {
            OutcomeResult::Waiting { until, .. } => *until,
            OutcomeResult::Done => outcome.rest.and_then(|rest| rest.until),
            OutcomeResult::Settled
            | OutcomeResult::Failed(_)
            | OutcomeResult::Busy
            | OutcomeResult::Interrupted
            | OutcomeResult::Unplannable { .. }
            | OutcomeResult::Dead { .. } => None,
        };
        if let Some(until) = until {
            let at = self.at(until).max(now + SOON);
            self.queue.wake(key, Some(at));
        }
        let trigger = ended
            .trigger
            .map(|trigger| trigger.id)
            .or_else(|| outcome.trigger.clone());
        if let Some(trigger) = trigger {
            self.trigger_ended(&trigger, outcome);
        }
        if self.cache.object(key).is_none() && self.queue.forget_if_idle(key) {
            self.gone.remove(key);
        }
    }

    /// What the Outcome tells of and the caches have not seen.
    fn unseen(&self, outcome: &Outcome) -> Vec<Version> {
        let mut unseen: Vec<Version> = outcome
            .written
            .iter()
            .filter_map(|written| self.unseen_write(written))
            .collect();
        // Of a conflict only what is cached can be waited for; the rest travels in the Outcome.
        if let Some(live) = &outcome.live {
            let wanted = number(&live.resource_version);
            if self
                .cache
                .version_of(&live.uid)
                .is_some_and(|seen| seen < wanted)
            {
                unseen.push(Version {
                    uid: live.uid.clone(),
                    number: wanted,
                });
            }
        }
        unseen
    }

    fn unseen_write(&self, written: &Written) -> Option<Version> {
        let custom = Kind::ALL
            .into_iter()
            .any(|kind| kind.as_str() == written.kind);
        let watched =
            custom || ChildKind::parse(&written.kind).is_some() || written.kind == "Lease";
        let seen = self.cache.version_of(&written.uid);
        let named = number(&written.resource_version);
        let missing = if written.deleted {
            // Gone, or terminating, which is a newer version.
            seen.filter(|seen| *seen <= named).map(|_| named + 1)
        } else if seen.is_none_or(|seen| seen < named) {
            Some(named)
        } else {
            None
        };
        let number = missing.filter(|_| watched)?;
        Some(Version {
            uid: written.uid.clone(),
            number,
        })
    }
}
