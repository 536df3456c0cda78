//! Flights: how they begin, how they are refused, and how a lost one is noticed.

use std::collections::BTreeSet;
use std::time::Duration;

use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::wire::Cause;

use super::entry::{Dirty, Flight};
use super::{At, Change, Priority, Queue};

/// A flight that is older than this is looked for in the streams.
const LOOKED_FOR_AFTER: Duration = Duration::from_secs(2);
/// Wait after a stream was full.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// Wait after the bus refused an Event for good.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

/// Why an Event was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The subject is taken: a flight of somebody else exists.
    Occupied,
    /// The stream has no place.
    Full,
    /// It may be stored or not.
    Unknown,
    /// The bus never takes it: too large, not allowed.
    Never,
}

impl Queue {
    /// Begins a flight.
    pub(super) fn begin(
        &mut self,
        key: &ObjectKey,
        id: ReconcileId,
        priority: Priority,
        now: At,
    ) -> Cause {
        let urgent = priority == Priority::Urgent;
        let Some(entry) = self.entries.get_mut(key) else {
            return Cause::Resync;
        };
        // A trigger's plan changes one field only: what else is dirty stays so.
        let trigger = if urgent {
            None
        } else {
            entry.triggers.pop_front()
        };
        let carries = if trigger.is_some() {
            None
        } else {
            entry.dirty.take()
        };
        let cause = match (&trigger, &carries) {
            (Some(trigger), _) => Cause::Trigger {
                trigger: trigger.clone(),
            },
            (None, Some(dirty)) => dirty.cause.clone(),
            (None, None) => Cause::Resync,
        };
        if carries.is_some() {
            self.dirty = self.dirty.saturating_sub(1);
        }
        if trigger.is_none() {
            let changing = matches!(cause, Cause::Spec { .. } | Cause::Child { .. });
            entry.pace.sent(now, changing);
        }
        entry.not_before = Duration::ZERO;
        entry.give_up_waiting();
        self.fly(
            key,
            Flight {
                id: Some(id),
                since: now,
                urgent,
                carries,
                trigger,
                missed: 0,
            },
            now,
        );
        cause
    }

    fn fly(&mut self, key: &ObjectKey, flight: Flight, now: At) {
        if !self.airborne.insert(key.clone()) {
            return;
        }
        self.urgent_flights += usize::from(flight.urgent);
        *self.flights_of.entry(key.namespace.clone()).or_default() += 1;
        self.entries.entry(key.clone()).or_default().flight = Some(Box::new(flight));
        self.place(key, now);
    }

    /// Takes a flight out of the books.
    pub(super) fn land(&mut self, key: &ObjectKey, now: At) -> Option<Box<Flight>> {
        let entry = self.entries.get_mut(key)?;
        let flight = entry.flight.take()?;
        entry.ended_at = now;
        self.airborne.remove(key);
        self.urgent_flights = self
            .urgent_flights
            .saturating_sub(usize::from(flight.urgent));
        if let Some(count) = self.flights_of.get_mut(&key.namespace) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.flights_of.remove(&key.namespace);
            }
        }
        Some(flight)
    }

    /// The bus did not (surely) take an Event.
    pub fn refused(&mut self, key: &ObjectKey, id: ReconcileId, refusal: Refusal, now: At) {
        let flight = self
            .entries
            .get(key)
            .and_then(|entry| entry.flight.as_ref());
        if flight.is_none_or(|flight| flight.id != Some(id)) || refusal == Refusal::Unknown {
            // Whether it flies, the streams will tell.
            return;
        }
        let Some(flight) = self.land(key, now) else {
            return;
        };
        self.restore(key, flight.carries, flight.trigger, now);
        match refusal {
            Refusal::Unknown => {}
            Refusal::Occupied => self.discovered(key, now),
            Refusal::Full => self.full_until = now + FULL_WAIT,
            Refusal::Never => {
                if let Some(entry) = self.entries.get_mut(key) {
                    entry.not_before = now + REFUSED_WAIT;
                }
            }
        }
        self.suspects_are_news(key, now);
        self.place(key, now);
    }

    /// A flight of unknown id exists.
    fn discovered(&mut self, key: &ObjectKey, now: At) {
        let flight = Flight {
            id: None,
            since: now,
            urgent: false,
            carries: None,
            trigger: None,
            missed: 0,
        };
        self.fly(key, flight, now);
    }

    fn restore(
        &mut self,
        key: &ObjectKey,
        carried: Option<Box<Dirty>>,
        trigger: Option<signalbox_common::wire::Trigger>,
        now: At,
    ) {
        if let Some(Dirty {
            cause,
            priority,
            haste,
            bypass,
            since,
        }) = carried.map(|dirty| *dirty)
        {
            let change = Change {
                cause,
                priority,
                haste,
                bypass,
                version: None,
            };
            self.mark(key, change, now);
            if let Some(dirty) = self.entries.get_mut(key).and_then(|e| e.dirty.as_mut()) {
                dirty.since = dirty.since.min(since);
            }
        }
        if let (Some(trigger), Some(entry)) = (trigger, self.entries.get_mut(key)) {
            entry.triggers.push_front(trigger);
        }
    }

    pub(super) fn suspects_are_news(&mut self, key: &ObjectKey, now: At) {
        let news = self
            .entries
            .get_mut(key)
            .map(super::entry::Entry::unnamed)
            .unwrap_or_default();
        for change in news {
            self.mark(key, change, now);
        }
    }

    /// Whether a flight is old enough to be looked for.
    #[must_use]
    pub fn has_old_flight(&self, now: At) -> bool {
        self.airborne.iter().any(|key| {
            let flight = self
                .entries
                .get(key)
                .and_then(|entry| entry.flight.as_ref());
            flight.is_some_and(|flight| flight.since + LOOKED_FOR_AFTER <= now)
        })
    }

    /// The streams were listed, beginning at `began`: `found` are the flights. Returns those that are lost.
    pub fn listed(&mut self, found: &BTreeSet<ObjectKey>, began: At, now: At) -> Vec<ObjectKey> {
        for key in found {
            let entry = self.entries.entry(key.clone()).or_default();
            match &mut entry.flight {
                Some(flight) => flight.missed = 0,
                // One that has ended since was only seen on its way out.
                None if entry.ended_at < began => self.discovered(key, now),
                None => {}
            }
        }
        let mut lost = Vec::new();
        for key in self.airborne.iter().filter(|key| !found.contains(*key)) {
            let flight = self
                .entries
                .get_mut(key)
                .and_then(|entry| entry.flight.as_mut());
            // One that began since (or just before, and may not be stored yet) can't be judged.
            if let Some(flight) = flight.filter(|f| f.since + LOOKED_FOR_AFTER <= began) {
                flight.missed += 1;
                if flight.missed >= 2 {
                    lost.push(key.clone());
                }
            }
        }
        for key in &lost {
            self.lose(key, now);
        }
        lost
    }

    fn lose(&mut self, key: &ObjectKey, now: At) {
        let Some(flight) = self.land(key, now) else {
            return;
        };
        self.lost += 1;
        *self.timeouts.entry(key.namespace.clone()).or_default() += 1;
        self.restore(key, flight.carries, flight.trigger, now);
        self.mark(key, Change::look(), now);
        self.suspects_are_news(key, now);
        self.place(key, now);
    }
}

impl Queue {
    /// There was nothing to send: the flight has not begun.
    pub fn cancelled(&mut self, key: &ObjectKey, id: ReconcileId, now: At) {
        let flight = self
            .entries
            .get(key)
            .and_then(|entry| entry.flight.as_ref());
        if flight.is_some_and(|flight| flight.id == Some(id)) {
            self.land(key, now);
            self.place(key, now);
        }
    }

    /// The flight has ended in a way that can't be read.
    pub fn give_up(&mut self, key: &ObjectKey, now: At) {
        self.lose(key, now);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.not_before = now + REFUSED_WAIT;
            self.place(key, now);
        }
    }
}
