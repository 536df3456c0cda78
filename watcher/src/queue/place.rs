//! Where each object stands that has something to send: later, held, or ready in its namespace's line.
//!
//! Decides the order: priority, then round robin over namespaces, then first come.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_common::id::ObjectKey;

use super::{At, NAMESPACE_SHARE, Priority, Queue, SLOW_AFTER, SLOW_SHARE, URGENT};

/// Where an object stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing to send, or in flight.
    #[default]
    Nowhere,
    /// Not before this time.
    Later(At),
    /// Held in a storm until this time.
    Held(At),
    /// In line, with its number.
    Ready(Priority, u64),
}

type Lines = BTreeMap<String, BTreeMap<u64, ObjectKey>>;

/// All places.
#[derive(Debug, Default)]
pub(super) struct Places {
    later: BTreeSet<(At, ObjectKey)>,
    held: BTreeSet<(At, ObjectKey)>,
    ready: BTreeMap<Priority, Lines>,
    /// The namespace that was served last, by priority.
    served: BTreeMap<Priority, String>,
    numbers: u64,
}

impl Places {
    fn remove(&mut self, key: &ObjectKey, place: Place) {
        match place {
            Place::Nowhere => {}
            Place::Later(at) => {
                self.later.remove(&(at, key.clone()));
            }
            Place::Held(at) => {
                self.held.remove(&(at, key.clone()));
            }
            Place::Ready(priority, number) => {
                let Some(lines) = self.ready.get_mut(&priority) else {
                    return;
                };
                let Some(line) = lines.get_mut(&key.namespace) else {
                    return;
                };
                line.remove(&number);
                if line.is_empty() {
                    lines.remove(&key.namespace);
                }
            }
        }
    }

    fn line_up(&mut self, key: &ObjectKey, priority: Priority) -> Place {
        self.numbers += 1;
        let lines = self.ready.entry(priority).or_default();
        lines
            .entry(key.namespace.clone())
            .or_default()
            .insert(self.numbers, key.clone());
        Place::Ready(priority, self.numbers)
    }

    /// Those whose time has come.
    pub(super) fn due(&self, now: At) -> Vec<ObjectKey> {
        let due = |(at, _): &&(At, ObjectKey)| *at <= now;
        let later = self.later.iter().take_while(due);
        later
            .chain(self.held.iter().take_while(due))
            .map(|(_, key)| key.clone())
            .collect()
    }

    /// All that are held.
    pub(super) fn held(&self) -> Vec<ObjectKey> {
        self.held.iter().map(|(_, key)| key.clone()).collect()
    }

    pub(super) fn next_time(&self) -> Option<At> {
        let first = |set: &BTreeSet<(At, ObjectKey)>| set.first().map(|(at, _)| *at);
        [first(&self.later), first(&self.held)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether any object is in line.
    pub(super) fn anyone_waits(&self) -> bool {
        self.ready.values().any(|lines| !lines.is_empty())
    }

    /// Whether an object of another namespace is in line.
    fn others_wait(&self, namespace: &str) -> bool {
        self.ready
            .values()
            .any(|lines| lines.keys().any(|other| other != namespace))
    }

    /// The next namespace after the one served last that may have another flight.
    fn turn(&self, priority: Priority, may: impl Fn(&str) -> bool) -> Option<ObjectKey> {
        let lines = self.ready.get(&priority)?;
        let served = self.served.get(&priority).map_or("", String::as_str);
        let after = lines
            .iter()
            .filter(|(namespace, _)| namespace.as_str() > served);
        let wrapped = lines
            .iter()
            .filter(|(namespace, _)| namespace.as_str() <= served);
        let (_, line) = after.chain(wrapped).find(|(namespace, _)| may(namespace))?;
        line.values().next().cloned()
    }
}

impl Queue {
    /// Puts an object where it belongs now.
    pub(super) fn place(&mut self, key: &ObjectKey, now: At) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        self.places.remove(key, std::mem::take(&mut entry.place));
        let Some(priority) = entry.priority().filter(|_| entry.flight.is_none()) else {
            return;
        };
        let (eligible, held) = (entry.eligible_at(), entry.held_until());
        entry.place = if eligible > now {
            self.places.later.insert((eligible, key.clone()));
            Place::Later(eligible)
        } else if held > now {
            self.places.held.insert((held, key.clone()));
            Place::Held(held)
        } else {
            self.places.line_up(key, priority)
        };
    }

    /// Puts a held object in line: there is no storm.
    pub(super) fn place_ready(&mut self, key: &ObjectKey) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let Some(priority) = entry.priority() else {
            return;
        };
        self.places.remove(key, entry.place);
        entry.place = self.places.line_up(key, priority);
    }

    /// Who is next, if there is room.
    pub(super) fn pick(&mut self, now: At) -> Option<(ObjectKey, Priority)> {
        let window = self.window(now);
        let taken = self.airborne.len() + self.landed.len();
        if taken >= window {
            return None;
        }
        let ordinary = taken.saturating_sub(self.urgent_flights);
        for priority in Priority::ALL {
            if priority != Priority::Urgent && ordinary >= window - URGENT {
                return None;
            }
            let chosen = self
                .places
                .turn(priority, |namespace| self.may_fly(priority, namespace));
            if let Some(key) = chosen {
                self.places.served.insert(priority, key.namespace.clone());
                return Some((key, priority));
            }
        }
        None
    }

    fn may_fly(&self, priority: Priority, namespace: &str) -> bool {
        let flights = self.flights_of.get(namespace).copied().unwrap_or(0);
        if priority == Priority::Urgent || flights < SLOW_SHARE {
            return true;
        }
        if self
            .timeouts
            .get(namespace)
            .is_some_and(|count| *count >= SLOW_AFTER)
        {
            return false;
        }
        flights < NAMESPACE_SHARE || !self.places.others_wait(namespace)
    }
}
