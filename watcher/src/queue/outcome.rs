//! What an Outcome means for the queue: the flight's end, what is waited for, and the backoff.

use std::time::Duration;

use signalbox_common::backoff;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::{Outcome, OutcomeResult, Trigger};

use super::entry::Entry;
use super::{At, Change, Queue, Version, number};

/// The cache has to see what was written within this time; then the flight goes anyway.
const READ_YOUR_WRITES: Duration = Duration::from_secs(2);
/// A flight of this age whose plan failed has timed out.
const TIMED_OUT: Duration = Duration::from_secs(9);
/// Wait before something is tried again that only a change is likely to heal.
const RARELY: Duration = Duration::from_mins(5);
/// After an Outcome of a flight that is not ours, another watcher is taken to be active for this long.
const SHARED: Duration = Duration::from_secs(30);
/// `Interrupted` Outcomes in a row before an object is tried rarely.
const INTERRUPTED_MAX: u32 = 5;

/// How a flight ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// It ended a flight that was known (or found).
    pub flight: bool,
    /// The trigger that the flight was for.
    pub trigger: Option<Trigger>,
    /// How long the flight took.
    pub age: Duration,
}

impl Queue {
    /// An Outcome has come. `unseen`: what it wrote and the cache has not seen yet. `not_before`: the
    /// Outcome's own, on the queue's clock.
    pub fn outcome(
        &mut self,
        outcome: &Outcome,
        unseen: &[Version],
        not_before: Option<At>,
        now: At,
    ) -> Ended {
        let key = &outcome.key;
        let entry = self.entries.entry(key.clone()).or_default();
        note_written(entry, outcome, unseen, now);
        for version in unseen {
            let waiting = self.awaiting.entry(version.uid.clone()).or_default();
            if !waiting.contains(key) {
                waiting.push(key.clone());
            }
        }
        let flight = entry.flight.as_ref();
        let known = flight.is_some_and(|f| f.id.is_none_or(|id| id == outcome.reconcile_id));
        if !known {
            // Of another watcher, or of a flight given up as lost: look again, end nothing. Without a
            // flight of our own there is nothing to look for in what went well.
            self.shared_until = now + SHARED;
            if flight.is_some() || !went_well(&outcome.result) {
                self.mark(key, Change::look(), now);
            }
            self.place(key, now);
            return Ended::default();
        }
        let flight = self.land(key, now);
        self.landed.push_back(now);
        let age = flight
            .as_ref()
            .map_or(Duration::ZERO, |f| now.saturating_sub(f.since));
        self.note_timeout(outcome, age);
        self.suspects_are_news(key, now);
        self.note_result(outcome, not_before, now);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.last = Some(Box::new(outcome.clone()));
        }
        self.place(key, now);
        Ended {
            flight: true,
            trigger: flight.and_then(|f| f.trigger),
            age,
        }
    }

    fn note_timeout(&mut self, outcome: &Outcome, age: Duration) {
        let failed = matches!(
            outcome.result,
            OutcomeResult::Failed(_) | OutcomeResult::Interrupted
        );
        if failed && age >= TIMED_OUT {
            *self
                .timeouts
                .entry(outcome.key.namespace.clone())
                .or_default() += 1;
        } else {
            self.timeouts.remove(&outcome.key.namespace);
        }
    }

    fn note_result(&mut self, outcome: &Outcome, not_before: Option<At>, now: At) {
        let Some(entry) = self.entries.get_mut(&outcome.key) else {
            return;
        };
        let jitter = backoff::jitter_of(&outcome.reconcile_id.to_string());
        if !matches!(outcome.result, OutcomeResult::Interrupted) {
            entry.interrupted = 0;
        }
        let wait = match &outcome.result {
            OutcomeResult::Settled | OutcomeResult::Waiting { .. } => {
                entry.failures = 0;
                None
            }
            // What was done may be the ground for the next step: looked at once more, after the cache
            // has seen the writes, unless the planner has foreseen that nothing is to be done.
            OutcomeResult::Done => {
                entry.failures = 0;
                outcome.rest.is_none().then_some(Duration::ZERO)
            }
            OutcomeResult::Failed(failure) => {
                // The first one is planned at once: its plan tells of the failure and when to try again.
                entry.failures += 1;
                Some(after(failure.class, entry.failures - 1, jitter))
            }
            OutcomeResult::Busy => {
                entry.failures += 1;
                Some(after(ErrorClass::Conflict, entry.failures, jitter))
            }
            OutcomeResult::Interrupted => {
                entry.interrupted += 1;
                let rarely = entry.interrupted > INTERRUPTED_MAX;
                let wait = after(ErrorClass::Transient, entry.interrupted - 1, jitter);
                Some(if rarely { RARELY } else { wait })
            }
            // The first one is told at once; unless it changes, the object is then tried rarely.
            OutcomeResult::Unplannable { .. } | OutcomeResult::Dead { .. } => {
                let again = entry
                    .last
                    .as_ref()
                    .is_some_and(|last| is_poison(&last.result));
                Some(if again { RARELY } else { Duration::ZERO })
            }
        };
        let Some(wait) = wait else {
            // "Not before" without a failure: nothing is dirty by itself.
            entry.not_before = not_before.unwrap_or_default();
            return;
        };
        // What changed meanwhile ends the backoff; what the Outcome itself asks for does not.
        let bypassed = entry.dirty.as_ref().is_some_and(|dirty| dirty.bypass);
        if !bypassed {
            entry.not_before = (now + wait).max(not_before.unwrap_or_default());
        }
        let change = Change {
            bypass: false,
            ..Change::look()
        };
        self.mark(&outcome.key, change, now);
    }
}

fn note_written(entry: &mut Entry, outcome: &Outcome, unseen: &[Version], now: At) {
    let named = outcome.written.iter();
    entry.named = named
        .filter(|written| !written.retried && !written.deleted)
        .map(|written| {
            (
                written.uid.as_str().into(),
                number(&written.resource_version),
            )
        })
        .collect();
    for version in unseen {
        let awaited = entry.awaited.entry(version.uid.clone()).or_default();
        *awaited = (*awaited).max(version.number);
    }
    entry.awaited_until = now + READ_YOUR_WRITES;
}

/// Whether nobody could use the message.
const fn is_poison(result: &OutcomeResult) -> bool {
    matches!(
        result,
        OutcomeResult::Unplannable { .. } | OutcomeResult::Dead { .. }
    )
}

const fn went_well(result: &OutcomeResult) -> bool {
    match result {
        OutcomeResult::Settled | OutcomeResult::Waiting { .. } | OutcomeResult::Done => true,
        OutcomeResult::Failed(_)
        | OutcomeResult::Busy
        | OutcomeResult::Interrupted
        | OutcomeResult::Unplannable { .. }
        | OutcomeResult::Dead { .. } => false,
    }
}

fn after(class: ErrorClass, attempt: u32, jitter: f64) -> Duration {
    if attempt == 0 {
        Duration::ZERO
    } else {
        backoff::after(class, attempt, jitter)
    }
}
