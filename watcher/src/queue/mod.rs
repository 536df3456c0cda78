//! The work queue whose workers are elsewhere: which object is sent next, and when.
//!
//! Decides by what it was told alone: no IO, no clock (times are since the start of the process), no
//! randomness. Knows no kind. At most [`WINDOW`] flights, one per object; what changes in between is
//! coalesced.

#[cfg(test)]
pub(crate) mod bench;
mod change;
mod entry;
mod flights;
#[cfg(test)]
mod histories;
#[cfg(test)]
mod order_tests;
mod outcome;
mod pace;
#[cfg(test)]
mod pacing_tests;
mod place;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use signalbox_common::bus::limits;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::wire::{Cause, Outcome, Trigger};

pub use change::{Change, Haste, Priority, Version, number};
use entry::Entry;
pub use flights::Refusal;
pub use outcome::Ended;
use place::Places;

/// Time since the start of the process.
pub type At = Duration;

/// Flights at any time, over all three streams.
pub const WINDOW: usize = limits::BACKLOG_LIMIT;
/// A place is free this long after its Outcome came: who published it acknowledges its own message after. As long as a
/// part gathers, at most; longer, and it is places that run short when many children are deleted at once.
const LINGER: Duration = Duration::from_millis(20);
/// Places that only what is urgent may take.
const URGENT: usize = limits::URGENT_FLIGHTS;
/// Flights that are not urgent.
pub const ORDINARY: usize = limits::ORDINARY_FLIGHTS;
/// Flights of one namespace while others wait.
pub const NAMESPACE_SHARE: usize = ORDINARY / 2;
/// Flights of a namespace whose last plans timed out.
const SLOW_SHARE: usize = 2;
/// Plans in a row that time out before a namespace counts as slow.
const SLOW_AFTER: u32 = 5;

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Publish an Event of this object; its flight has begun.
    Send {
        /// The object.
        key: ObjectKey,
        /// Id of the flight.
        id: ReconcileId,
        /// Why.
        cause: Cause,
    },
    /// Nothing before this time, unless something changes; none: nothing at all.
    Sleep(Option<At>),
}

/// What the metrics tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Flights.
    pub flights: usize,
    /// Dirty objects.
    pub dirty: usize,
    /// Changes that were coalesced with an earlier one.
    pub coalesced: u64,
    /// Flights that were lost.
    pub lost: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<ObjectKey, Entry>,
    places: Places,
    /// Objects with a flight.
    airborne: BTreeSet<ObjectKey>,
    urgent_flights: usize,
    /// When the last flights ended: their messages may still be in a stream.
    landed: VecDeque<At>,
    /// Flights by namespace.
    flights_of: HashMap<String, usize>,
    /// Plans in a row that timed out, by namespace.
    timeouts: HashMap<String, u32>,
    /// Who waits to see a version of an object, by uid.
    awaiting: HashMap<String, Vec<ObjectKey>>,
    wakes: BTreeSet<(At, ObjectKey)>,
    dirty: usize,
    coalesced: u64,
    lost: u64,
    /// A stream was full: nothing is sent before this time.
    full_until: At,
    /// Another watcher is active until this time, as far as is known.
    shared_until: At,
    /// Nothing keeps another watcher from being active at any time.
    shares: bool,
}

impl Queue {
    /// An empty queue; `shares`: nothing keeps another watcher from being active beside this one.
    #[must_use]
    pub fn new(shares: bool) -> Self {
        Self {
            shares,
            ..Self::default()
        }
    }

    /// An object is dirty.
    pub fn changed(&mut self, key: &ObjectKey, change: Change, now: At) {
        let entry = self.entries.entry(key.clone()).or_default();
        if change.haste == Haste::Spec {
            entry.pace.changed(now);
        }
        if let Some(version) = &change.version {
            if entry.is_named(version) {
                return;
            }
            if entry.flight.is_some() {
                // Whether it is news, the Outcome will tell.
                entry.suspect(version.uid.clone(), change);
                return;
            }
        }
        self.mark(key, change, now);
        self.place(key, now);
    }

    /// A trigger asks for a flight of its own.
    pub fn trigger(&mut self, key: &ObjectKey, trigger: Trigger, now: At) {
        let entry = self.entries.entry(key.clone()).or_default();
        entry.triggers.push_back(trigger);
        self.place(key, now);
    }

    /// Takes a trigger back that nobody waits for any more.
    pub fn withdraw(&mut self, key: &ObjectKey, trigger: &str, now: At) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.triggers.retain(|waiting| waiting.id != trigger);
            self.place(key, now);
        }
    }

    /// The cache has seen a version of an object; none: the object is gone.
    pub fn observed(&mut self, uid: &str, version: Option<u64>, now: At) {
        let Some(waiting) = self.awaiting.remove(uid) else {
            return;
        };
        let mut still = Vec::new();
        for key in waiting {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            let enough = entry
                .awaited
                .get(uid)
                .is_none_or(|wanted| version.is_none_or(|version| version >= *wanted));
            if enough {
                entry.awaited.remove(uid);
                self.place(&key, now);
            } else {
                still.push(key);
            }
        }
        if !still.is_empty() {
            self.awaiting.insert(uid.to_owned(), still);
        }
    }

    /// When to look at the object again by itself; none: never.
    pub fn wake(&mut self, key: &ObjectKey, at: Option<At>) {
        let entry = self.entries.entry(key.clone()).or_default();
        if entry.wake == at {
            return;
        }
        if let Some(before) = entry.wake.take() {
            self.wakes.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            entry.wake = Some(at);
            self.wakes.insert((at, key.clone()));
        }
    }

    /// What to do now. `mint` makes the id of a flight.
    pub fn next(&mut self, now: At, mint: &mut dyn FnMut() -> ReconcileId) -> Decision {
        self.fire_wakes(now);
        for key in self.places.due(now) {
            self.place(&key, now);
        }
        if now < self.full_until {
            return Decision::Sleep(Some(self.full_until));
        }
        while self.landed.front().is_some_and(|at| *at + LINGER <= now) {
            self.landed.pop_front();
        }
        let free = self.window(now).saturating_sub(self.airborne.len());
        if self.dirty <= free {
            for key in self.places.held() {
                self.place_ready(&key);
            }
        }
        match self.pick(now) {
            Some((key, priority)) => {
                let id = mint();
                let cause = self.begin(&key, id, priority, now);
                Decision::Send { key, id, cause }
            }
            None => Decision::Sleep(self.next_time()),
        }
    }

    /// Forgets everything: another watcher leads, or this one starts to.
    pub fn clear(&mut self) {
        *self = Self {
            coalesced: self.coalesced,
            lost: self.lost,
            shares: self.shares,
            ..Self::default()
        };
    }

    /// Forgets an object that is gone, once nothing of it is under way.
    pub fn forget_if_idle(&mut self, key: &ObjectKey) -> bool {
        let idle = self.entries.get(key).is_none_or(|entry| {
            entry.flight.is_none() && entry.dirty.is_none() && entry.triggers.is_empty()
        });
        if idle {
            self.wake(key, None);
            self.entries.remove(key);
        }
        idle
    }

    /// What the metrics tell.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            flights: self.airborne.len(),
            dirty: self.dirty,
            coalesced: self.coalesced,
            lost: self.lost,
        }
    }

    /// How long the longest waiting dirty object waits.
    #[must_use]
    pub fn oldest_dirty(&self, now: At) -> Duration {
        if self.dirty == 0 {
            return Duration::ZERO;
        }
        let since = self
            .entries
            .values()
            .filter_map(|entry| Some(entry.dirty.as_ref()?.since));
        since
            .min()
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// The Outcome of an object's last flight, while it is remembered.
    #[must_use]
    pub fn last_outcome(&self, key: &ObjectKey) -> Option<&Outcome> {
        self.entries.get(key)?.last.as_deref()
    }

    /// `Interrupted` Outcomes in a row without a write.
    #[must_use]
    pub fn interrupted(&self, key: &ObjectKey) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.interrupted)
    }

    /// Places: all, or half of them while another watcher is, or may be, active too.
    fn window(&self, now: At) -> usize {
        if self.shares || now < self.shared_until {
            WINDOW / 2
        } else {
            WINDOW
        }
    }

    fn fire_wakes(&mut self, now: At) {
        while let Some((at, key)) = self.wakes.first().cloned() {
            if at > now {
                return;
            }
            self.wake(&key, None);
            let change = Change {
                bypass: false,
                ..Change::news(Cause::Timer, Priority::Drift)
            };
            self.mark(&key, change, now);
            self.place(&key, now);
        }
    }

    fn next_time(&self) -> Option<At> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        // Only who waits for a place waits for one to become free.
        let landed = self.landed.front().map(|at| *at + LINGER);
        let place = landed.filter(|_| self.places.anyone_waits());
        [wake, self.places.next_time(), place]
            .into_iter()
            .flatten()
            .min()
    }

    /// Adds a change to what is dirty.
    fn mark(&mut self, key: &ObjectKey, change: Change, now: At) {
        let entry = self.entries.entry(key.clone()).or_default();
        if change.bypass {
            entry.not_before = Duration::ZERO;
        }
        if entry.dirty.is_some() {
            self.coalesced += 1;
        } else {
            self.dirty += 1;
        }
        entry.mark(change, now);
    }
}
