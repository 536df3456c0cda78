//! What stood in a plan's way and the caches do not show: it goes with the object's next Events.
//!
//! Decides how long that is remembered: until a cache knows better, or nothing stands there any more.

use std::collections::{HashMap, HashSet};

use signalbox_common::class::ErrorClass;
use signalbox_common::id::ObjectKey;
use signalbox_common::wire::outcome::Failure;
use signalbox_common::wire::{LiveObject, Outcome, OutcomeResult};

use crate::queue::number;

/// One live object at most for each object.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    known: HashMap<ObjectKey, LiveObject>,
}

impl Conflicts {
    /// What the next Event of an object takes along.
    pub(super) fn of(&self, key: &ObjectKey) -> Option<&LiveObject> {
        self.known.get(key)
    }

    /// What an Outcome tells; `seen`: the cached version of the live object in it.
    pub(super) fn note(&mut self, outcome: &Outcome, seen: Option<u64>) {
        let key = &outcome.key;
        if let Some(live) = &outcome.live {
            if seen.is_some_and(|seen| seen >= number(&live.resource_version)) {
                self.known.remove(key);
            } else {
                self.known.insert(key.clone(), live.clone());
            }
            return;
        }
        let Some(live) = self.known.get(key) else {
            return;
        };
        // A conflict with nothing: what was remembered is gone.
        let is_gone = matches!(
            outcome.result,
            OutcomeResult::Failed(Failure {
                class: ErrorClass::Conflict,
                ..
            })
        );
        if is_gone || outcome.written.iter().any(|w| w.uid == live.uid) {
            self.known.remove(key);
        }
    }

    /// A cache knows an object, or that it is gone.
    pub(super) fn cached(&mut self, owner: &ObjectKey, uid: &str) {
        if self.known.get(owner).is_some_and(|live| live.uid == uid) {
            self.known.remove(owner);
        }
    }

    /// A list of a kind is complete: who rested on something else is told, and looks anew. What is not ours is in
    /// no list, and will be found again.
    pub(super) fn listed(
        &mut self,
        kind: &str,
        names: &HashSet<(String, String)>,
    ) -> Vec<(ObjectKey, String)> {
        let is_missing = |key: &ObjectKey, live: &LiveObject| {
            live.kind == kind && !names.contains(&(key.namespace.clone(), live.name.clone()))
        };
        let mut missing: Vec<(ObjectKey, String)> = self
            .known
            .extract_if(|key, live| is_missing(key, live))
            .map(|(key, live)| (key, live.name))
            .collect();
        missing.sort();
        missing
    }

    /// Nothing stands in its way any more, as far as anybody knows.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.known.remove(key);
    }

    /// Another watcher leads, or this one starts to.
    pub(super) fn clear(&mut self) {
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use signalbox_common::id::ReconcileId;
    use signalbox_common::kinds::Kind;
    use signalbox_common::wire::trim::trim_as;

    use super::*;
    use crate::queue::bench;

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::PortfolioApp, "n", "web")
    }

    fn told(live: Option<&str>, result: OutcomeResult) -> Outcome {
        let live = live.map(|uid| {
            let service = json!({
                "metadata": { "name": "web", "namespace": "n", "uid": uid, "resourceVersion": "7",
                    "creationTimestamp": "2026-01-01T00:00:00Z" },
                "spec": {},
            });
            trim_as("Service", service).unwrap()
        });
        Outcome {
            live,
            ..bench::outcome(&key(), ReconcileId(uuid::Uuid::nil()), result)
        }
    }

    fn known() -> Conflicts {
        let mut conflicts = Conflicts::default();
        conflicts.note(&told(Some("s"), bench::failed(ErrorClass::Conflict)), None);
        assert!(conflicts.of(&key()).is_some());
        conflicts
    }

    #[test]
    fn what_the_cache_has_already_is_not_remembered() {
        for (seen, remembered) in [(6, true), (7, false)] {
            let mut conflicts = Conflicts::default();
            conflicts.note(
                &told(Some("s"), bench::failed(ErrorClass::Conflict)),
                Some(seen),
            );
            assert_eq!(conflicts.of(&key()).is_some(), remembered, "{seen}");
        }
    }

    #[test]
    fn another_failure_leaves_it_and_a_conflict_with_nothing_ends_it() {
        let mut conflicts = known();
        conflicts.note(&told(None, bench::failed(ErrorClass::Transient)), None);
        conflicts.note(&told(None, OutcomeResult::Settled), None);
        assert!(conflicts.of(&key()).is_some());
        conflicts.note(&told(None, bench::failed(ErrorClass::Conflict)), None);
        assert!(conflicts.of(&key()).is_none());
    }

    #[test]
    fn a_write_to_it_or_a_cache_that_knows_it_ends_it() {
        let mut conflicts = known();
        conflicts.cached(&key(), "other");
        assert!(conflicts.of(&key()).is_some());
        conflicts.cached(&key(), "s");
        assert!(conflicts.of(&key()).is_none());

        let mut conflicts = known();
        let mut written = told(None, OutcomeResult::Done);
        written.written.push(bench::written("s", 8));
        conflicts.note(&written, None);
        assert!(conflicts.of(&key()).is_none());
    }

    #[test]
    fn a_list_without_it_ends_it_and_names_who_rested_on_it() {
        let mut conflicts = known();
        let web = ("n".to_owned(), "web".to_owned());
        assert!(conflicts.listed("ConfigMap", &HashSet::new()).is_empty());
        assert!(
            conflicts
                .listed("Service", &HashSet::from([web]))
                .is_empty()
        );
        assert_eq!(
            conflicts.listed("Service", &HashSet::new()),
            [(key(), "web".to_owned())]
        );
        assert!(conflicts.of(&key()).is_none());
    }
}
