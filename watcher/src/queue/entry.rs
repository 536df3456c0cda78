//! What the queue knows of one object.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use signalbox_common::id::ReconcileId;
use signalbox_common::wire::{Cause, Outcome, Trigger};

use super::pace::Pace;
use super::place::Place;
use super::{At, Change, Haste, Priority, Version};

/// Unsent changes of one object.
#[derive(Clone, Debug)]
pub(super) struct Dirty {
    pub(super) cause: Cause,
    pub(super) priority: Priority,
    /// The most pressing of the changes.
    pub(super) haste: Haste,
    /// Something in it ends a backoff.
    pub(super) bypass: bool,
    /// Time of the first change.
    pub(super) since: At,
}

/// A flight of one object.
#[derive(Debug)]
pub(super) struct Flight {
    /// Its id; none: found in a stream, sent by somebody before.
    pub(super) id: Option<ReconcileId>,
    pub(super) since: At,
    pub(super) urgent: bool,
    /// What it carries, to be restored if it is lost.
    pub(super) carries: Option<Box<Dirty>>,
    pub(super) trigger: Option<Trigger>,
    /// How often in a row it was found nowhere.
    pub(super) missed: u8,
}

/// What the queue knows of one object.
#[derive(Debug, Default)]
pub(super) struct Entry {
    // Boxed like the flight: most objects have neither, and there is an entry for each of them.
    pub(super) dirty: Option<Box<Dirty>>,
    pub(super) triggers: VecDeque<Trigger>,
    /// Changes during a flight that its Outcome may name, the newest of each object.
    suspects: BTreeMap<String, Change>,
    pub(super) flight: Option<Box<Flight>>,
    /// Versions that the last Outcome named and that hide no foreign change.
    pub(super) named: Box<[(Box<str>, u64)]>,
    /// Versions that the cache has to see first, by uid.
    pub(super) awaited: BTreeMap<String, u64>,
    pub(super) awaited_until: At,
    /// End of the backoff.
    pub(super) not_before: At,
    pub(super) pace: Pace,
    pub(super) failures: u32,
    pub(super) interrupted: u32,
    pub(super) wake: Option<At>,
    pub(super) ended_at: At,
    pub(super) last: Option<Box<Outcome>>,
    pub(super) place: Place,
}

impl Entry {
    /// Adds a change.
    pub(super) fn mark(&mut self, change: Change, now: At) {
        let Change {
            cause,
            priority,
            haste,
            bypass,
            ..
        } = change;
        let Some(dirty) = &mut self.dirty else {
            self.dirty = Some(Box::new(Dirty {
                cause,
                priority,
                haste,
                bypass,
                since: now,
            }));
            return;
        };
        dirty.haste = dirty.haste.min(haste);
        dirty.bypass |= bypass;
        let newer_spec = priority == dirty.priority && matches!(cause, Cause::Spec { .. });
        if priority < dirty.priority || newer_spec {
            dirty.cause = cause;
            dirty.priority = priority;
        }
    }

    /// Whether an Outcome named this version or a later one of the same object.
    pub(super) fn is_named(&self, version: &Version) -> bool {
        let mut named = self.named.iter();
        named.any(|(uid, number)| **uid == version.uid && version.number <= *number)
    }

    /// An Event goes out without the versions that were waited for: when they come, they are news.
    pub(super) fn give_up_waiting(&mut self) {
        let awaited = std::mem::take(&mut self.awaited);
        if awaited.is_empty() {
            return;
        }
        let named = std::mem::take(&mut self.named).into_iter();
        self.named = named
            .filter(|(uid, _)| !awaited.contains_key(&**uid))
            .collect();
    }

    /// Keeps a change of which only the Outcome will tell whether it is news.
    pub(super) fn suspect(&mut self, uid: String, mut change: Change) {
        if let Some(before) = self.suspects.remove(&uid) {
            change.haste = change.haste.min(before.haste);
            change.bypass |= before.bypass;
            change.priority = change.priority.min(before.priority);
        }
        self.suspects.insert(uid, change);
    }

    /// The kept changes that no Outcome named.
    pub(super) fn unnamed(&mut self) -> Vec<Change> {
        let suspects = std::mem::take(&mut self.suspects);
        let named = |change: &Change| change.version.as_ref().is_some_and(|v| self.is_named(v));
        suspects
            .into_values()
            .filter(|change| !named(change))
            .collect()
    }

    /// How urgent it is; none: nothing to send.
    pub(super) fn priority(&self) -> Option<Priority> {
        let trigger = (!self.triggers.is_empty()).then_some(Priority::Spec);
        let dirty = self.dirty.as_ref().map(|dirty| dirty.priority);
        [trigger, dirty].into_iter().flatten().min()
    }

    /// The earliest time at which it may be sent.
    pub(super) fn eligible_at(&self) -> At {
        let reading = if self.awaited.is_empty() {
            Duration::ZERO
        } else {
            self.awaited_until
        };
        let urgent = self.priority() == Some(Priority::Urgent) || !self.triggers.is_empty();
        let backoff = if urgent {
            Duration::ZERO
        } else {
            self.not_before
        };
        let flurry = self.waits_since();
        let flurry = flurry.map_or(Duration::ZERO, |since| self.pace.flurry_until(since));
        self.pace.earliest().max(reading).max(backoff).max(flurry)
    }

    /// Since when there is something to send of which nothing presses. What is urgent does.
    fn waits_since(&self) -> Option<At> {
        let dirty = self.dirty.as_ref().filter(|_| self.triggers.is_empty())?;
        (dirty.haste != Haste::Now).then_some(dirty.since)
    }

    /// Until when it is held in a storm.
    pub(super) fn held_until(&self) -> At {
        self.waits_since()
            .map_or(Duration::ZERO, |since| self.pace.hold_until(since))
    }
}
