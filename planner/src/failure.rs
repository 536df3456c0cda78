//! Failures: what the last Outcome and `status.lastFailure` mean for the next plan.
//!
//! Decides attempts, deadlines and what is held back; never how a kind shows it. Everything counts from
//! stored times, so that the same failure planned twice gives the same bytes. A missing Outcome never
//! withdraws a failure: only the success of the failed action does, or that it is wanted no more.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use signalbox_common::backoff;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::outcome::{ActionResult, Failure, Outcome};
use signalbox_common::wire::{Cause, Observation, OutcomeResult};
use signalbox_crds::condition::{LastFailure, clip};

use crate::draft::STATUS;
use crate::fence::is_fence;

/// The action that failed when no single one did: the plan as a whole.
pub(crate) const PLAN: &str = "plan";
/// Class of plans whose executor ended in the middle, again and again.
pub(crate) const INTERRUPTED: &str = "Interrupted";
/// Class of messages that nobody could use.
pub(crate) const DEAD: &str = "Dead";
/// Interruptions in a row from which the object is Stalled.
const STALLED_AFTER: u32 = 5;
/// The longest backoff.
const CAP: Duration = Duration::from_mins(5);

/// What the failures so far mean for the next plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assessment {
    /// What status should keep, if the action is still wanted (see [`Self::settle`]).
    pub(crate) last_failure: Option<LastFailure>,
    /// Key of the action that must not be planned now; [`PLAN`]: none but the status.
    pub(crate) held: Option<String>,
    /// When it may be planned again; none while held: only after a change.
    pub(crate) until: Option<Timestamp>,
    /// Reason of the condition Stalled, one word, if no progress comes without help.
    pub(crate) stalled: Option<String>,
}

impl Assessment {
    /// Whether the action `key` must not be planned now.
    pub(crate) fn holds(&self, key: &str) -> bool {
        key != STATUS
            && self
                .held
                .as_deref()
                .is_some_and(|held| held == key || held == PLAN)
    }

    /// What status keeps of the failure, `wanted` being the keys of all actions that the plan has or
    /// would have if none were held: a failure of what nobody wants any more is over.
    pub(crate) fn settle(self, wanted: &[String]) -> Option<LastFailure> {
        let failure = self.last_failure?;
        let kept = if failure.action == PLAN {
            is_whole(&failure.class) && wanted.iter().any(|key| key != STATUS)
        } else {
            wanted.contains(&failure.action)
        };
        kept.then_some(failure)
    }
}

/// Judges the failures of an object at `generation`, `before` being its `status.lastFailure`.
pub(crate) fn assess(
    seen: &Observation,
    before: Option<&LastFailure>,
    generation: i64,
) -> Assessment {
    let outcome = seen.outcome.as_deref();
    let before = before.filter(|failure| !outcome.is_some_and(|o| succeeded(o, failure)));
    let news = outcome
        .filter(|outcome| before.is_none_or(|failure| !names(failure, outcome)))
        .and_then(|outcome| counted(seen, outcome, before, generation));
    let Some(failure) = news.or_else(|| before.cloned()) else {
        return Assessment::default();
    };
    let bypassed = bypasses(&seen.cause, &failure) || failure.generation != generation;
    let until = failure.until.filter(|_| !waits_for_change(&failure.class));
    let waits = waits_for_change(&failure.class) || until.is_some_and(|t| t > seen.observed_at);
    let held = (waits && !bypassed).then(|| failure.action.clone());
    let stalled = stall(&failure).filter(|_| held.is_some());
    Assessment {
        until: until.filter(|_| held.is_some()),
        held,
        stalled,
        last_failure: Some(failure),
    }
}

/// Whether `cause` lets an action be tried again before its time.
pub(crate) fn bypasses(cause: &Cause, failure: &LastFailure) -> bool {
    match cause {
        Cause::Spec { .. }
        | Cause::Deletion
        | Cause::Gone
        | Cause::Command { .. }
        | Cause::Trigger { .. } => true,
        // Of the objects around it only the one that the failed action is about.
        Cause::Child { kind, name } | Cause::Link { kind, name } => {
            let mut parts = failure.action.split('/').skip(1);
            parts.next() == Some(kind.as_str()) && parts.next() == Some(name.as_str())
        }
        Cause::Timer | Cause::Outcome | Cause::Resync => false,
    }
}

/// Whether `failure` was counted from this very Outcome.
fn names(failure: &LastFailure, outcome: &Outcome) -> bool {
    failure.reconcile_id.as_deref() == Some(outcome.reconcile_id.to_string().as_str())
}

/// Whether the Outcome reports what failed before as done.
fn succeeded(outcome: &Outcome, failure: &LastFailure) -> bool {
    outcome.actions.iter().any(|report| {
        let meant = report.key == failure.action
            || (failure.action == PLAN && is_whole(&failure.class) && is_wish(&report.key));
        meant
            && match report.result {
                ActionResult::Done | ActionResult::FoundDone | ActionResult::Running => true,
                ActionResult::Failed | ActionResult::Skipped => false,
            }
    })
}

/// Whether the action is about what is wanted, not about telling of it or fencing it.
fn is_wish(key: &str) -> bool {
    key != STATUS && !is_fence(key)
}

/// The failure that an Outcome adds; none if it is none that status should tell.
fn counted(
    seen: &Observation,
    outcome: &Outcome,
    before: Option<&LastFailure>,
    generation: i64,
) -> Option<LastFailure> {
    match &outcome.result {
        OutcomeResult::Failed(failure) => failed(seen, outcome, failure, before, generation),
        OutcomeResult::Interrupted => {
            let row = before
                .filter(|b| b.class == INTERRUPTED)
                .map_or(0, |b| b.attempts);
            let attempts = seen.interrupted.max(row.saturating_add(u32::from(row > 0)));
            if attempts < 2 {
                return None;
            }
            let message = format!(
                "the executor of the plan was lost {attempts} times in a row before it could write anything"
            );
            Some(whole(
                seen,
                outcome,
                before,
                (INTERRUPTED, attempts, message),
                generation,
            ))
        }
        OutcomeResult::Dead { reason } => {
            let row = before.filter(|b| b.class == DEAD).map_or(0, |b| b.attempts);
            let counted = (
                DEAD,
                row.saturating_add(1),
                format!("a message was refused: {reason}"),
            );
            Some(whole(seen, outcome, before, counted, generation))
        }
        // A planner's failure is told by the plan itself (see `crate::plan`).
        OutcomeResult::Settled
        | OutcomeResult::Waiting { .. }
        | OutcomeResult::Done
        | OutcomeResult::Busy
        | OutcomeResult::Unplannable { .. } => None,
    }
}

/// A single action's failure.
fn failed(
    seen: &Observation,
    outcome: &Outcome,
    failure: &Failure,
    before: Option<&LastFailure>,
    generation: i64,
) -> Option<LastFailure> {
    // What changed in between is simply planned anew; and a status that can't be written can't tell so.
    if failure.class == ErrorClass::Conflict || !is_wish(&failure.action) {
        return None;
    }
    let label = failure.class.label();
    // Two actions that fail for the same reason in turn are one row: else they would never back off.
    let row = before.filter(|b| b.action == failure.action || b.class == label);
    let attempts = row.map_or(0, |b| b.attempts).saturating_add(1);
    let jitter = backoff::jitter_of(&format!("{}{}", seen.uid, failure.action));
    let wait = backoff::after(failure.class, attempts, jitter);
    // By the executor's clock, which may be another: a server's own words never ask for more than the cap.
    let asked = outcome.not_before.unwrap_or(Timestamp::MIN);
    let asked = asked.min(later(seen.observed_at, CAP));
    let until = later(seen.observed_at, wait).max(asked);
    Some(LastFailure {
        action: blamed(seen, failure, row),
        class: label.to_owned(),
        message: clip(&failure.message, 1024),
        attempts,
        since: since(row, seen),
        last: seen.observed_at,
        generation,
        until: Some(until).filter(|_| !waits_for_change(label)),
        reconcile_id: Some(outcome.reconcile_id.to_string()),
    })
}

/// What is held back: the action, or the whole plan where another one that failed for the same reason still
/// waits. Else each would be tried while the other one waits.
fn blamed(seen: &Observation, failure: &Failure, row: Option<&LastFailure>) -> String {
    let waits = |other: &LastFailure| other.until.is_some_and(|until| until > seen.observed_at);
    let whole =
        row.is_some_and(|row| row.action == PLAN || (row.action != failure.action && waits(row)));
    if whole {
        PLAN.to_owned()
    } else {
        failure.action.clone()
    }
}

/// The failure of a whole plan.
fn whole(
    seen: &Observation,
    outcome: &Outcome,
    before: Option<&LastFailure>,
    (class, attempts, message): (&str, u32, String),
    generation: i64,
) -> LastFailure {
    let wait = if attempts >= STALLED_AFTER {
        CAP
    } else {
        Duration::from_secs(1 << attempts.saturating_sub(2).min(8))
    };
    LastFailure {
        action: PLAN.to_owned(),
        class: class.to_owned(),
        message: clip(&message, 1024),
        attempts,
        since: since(before.filter(|b| b.class == class), seen),
        last: seen.observed_at,
        generation,
        until: Some(later(seen.observed_at, wait)),
        reconcile_id: Some(outcome.reconcile_id.to_string()),
    }
}

/// First failure of the row; a later timestamp counts as the time of the observation.
fn since(row: Option<&LastFailure>, seen: &Observation) -> Timestamp {
    row.map_or(seen.observed_at, |b| b.since)
        .min(seen.observed_at)
}

/// Whether a class may be that of a plan as a whole, which only a plan that gets further ends.
fn is_whole(class: &str) -> bool {
    is_lost(class) || ErrorClass::from_label(class).is_some()
}

/// Whether the class says that nobody told what came of the plan.
fn is_lost(class: &str) -> bool {
    class == INTERRUPTED || class == DEAD
}

/// Whether time alone never heals the class.
fn waits_for_change(class: &str) -> bool {
    ErrorClass::from_label(class) == Some(ErrorClass::Ambiguous)
}

/// Whether the class tells of what somebody has to mend: the object, or what refuses it (docs/adr/0009).
fn needs_help(class: &str) -> bool {
    match ErrorClass::from_label(class) {
        Some(ErrorClass::Invalid | ErrorClass::Ambiguous) => true,
        Some(
            ErrorClass::Transient
            | ErrorClass::Throttled
            | ErrorClass::Conflict
            | ErrorClass::NameTaken
            | ErrorClass::Forbidden
            | ErrorClass::Missing
            | ErrorClass::Fatal,
        )
        | None => false,
    }
}

/// Reason of Stalled, if the failure needs help from outside.
fn stall(failure: &LastFailure) -> Option<String> {
    let stalled = needs_help(&failure.class)
        || (is_lost(&failure.class) && failure.attempts >= STALLED_AFTER);
    stalled.then(|| failure.class.clone())
}

/// `wait` after `start`, to the millisecond.
pub(crate) fn later(start: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    let end = start.checked_add(wait).unwrap_or(Timestamp::MAX);
    Timestamp::from_millisecond(end.as_millisecond()).unwrap_or(end)
}

#[cfg(test)]
mod tests;
