//! What is on record, and which plans executors hold: what later effects are held against.
//!
//! Knows messages alone; decides nothing about objects. Secrets are looked for in everything that is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signalbox_common::bus::Message;
use signalbox_common::record::RECONCILE_ID;
use signalbox_common::wire::planned::PLANNED;

/// Entries of LEDGER, and plans that were taken.
#[derive(Default)]
pub struct Records {
    state: Mutex<State>,
    secrets: Vec<String>,
}

#[derive(Default)]
struct State {
    /// Types of the entries on record, by flight.
    entries: BTreeMap<String, BTreeSet<String>>,
    /// The last plan of an object, by the executor that took it and the subject.
    plans: BTreeMap<(String, String), String>,
}

impl Records {
    /// Nothing is on record; `secrets` must never be told.
    #[must_use]
    pub fn new(secrets: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            secrets,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry is stored in LEDGER.
    pub fn note(&self, message: &Message) {
        let id = message.headers.get(RECONCILE_ID).cloned();
        let entry = message.headers.get("ce-type").map(String::as_str);
        let entry = entry.and_then(|entry| entry.strip_prefix("dev.signalbox."));
        let mut state = self.lock();
        let entries = state.entries.entry(id.unwrap_or_default()).or_default();
        let entry = entry.unwrap_or_default();
        let told: &[&str] = match entry {
            PLANNED => &["event", "plan"],
            _ => &[entry],
        };
        entries.extend(told.iter().map(|&entry| entry.to_owned()));
    }

    /// Whether an entry of a flight is on record.
    #[must_use]
    pub fn has(&self, flight: &str, entry: &str) -> bool {
        let state = self.lock();
        let entries = state.entries.get(flight);
        entries.is_some_and(|entries| entries.contains(entry))
    }

    /// An executor has taken a plan.
    pub fn taken(&self, who: &str, subject: &str, body: &[u8]) {
        let plan = String::from_utf8_lossy(body).into_owned();
        let at = (who.to_owned(), subject.to_owned());
        self.lock().plans.insert(at, plan);
    }

    /// Whether a plan that this executor has taken names an object by its uid.
    #[must_use]
    pub fn names(&self, who: &str, uid: &str) -> bool {
        let state = self.lock();
        let first = (who.to_owned(), String::new());
        let mut plans = state.plans.range(first..);
        plans
            .by_ref()
            .take_while(|((of, _), _)| of == who)
            .any(|(_, plan)| plan.contains(uid))
    }

    /// Whether a secret stands in it.
    #[must_use]
    pub fn leaks(&self, text: &[u8]) -> bool {
        // What is no text, is no message of ours.
        std::str::from_utf8(text)
            .is_ok_and(|text| self.secrets.iter().any(|secret| text.contains(secret)))
    }
}
