//! Places for long work, and what runs in them: at most 32, 8 of one namespace.
//!
//! Decides who may enter; never waits for a place, since nothing waits in a slot.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use signalbox_common::id::StepId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Long works at once.
pub(super) const WORKS: usize = 32;
/// Long works of one namespace at once.
pub(super) const WORKS_OF_ONE: usize = 8;

/// Namespace and name of a Lease.
type LeaseName = (String, String);

/// One work under way.
#[derive(Clone, Debug)]
struct Running {
    step: StepId,
    cancel: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    taken: BTreeMap<String, usize>,
    running: BTreeMap<LeaseName, Running>,
    closed: bool,
}

impl State {
    fn enter(&mut self, namespace: &str) -> bool {
        let own = self.taken.get(namespace).copied().unwrap_or(0);
        if self.closed || self.count() >= WORKS || own >= WORKS_OF_ONE {
            return false;
        }
        self.taken.insert(namespace.to_owned(), own + 1);
        true
    }

    fn leave(&mut self, namespace: &str) {
        let left = self
            .taken
            .get(namespace)
            .map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            self.taken.remove(namespace);
        } else {
            self.taken.insert(namespace.to_owned(), left);
        }
    }

    fn count(&self) -> usize {
        self.taken.values().sum()
    }
}

/// The places, shared by tasks.
#[derive(Debug)]
pub(super) struct Places {
    state: Mutex<State>,
    count: watch::Sender<usize>,
}

impl Places {
    /// All free.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            count: watch::Sender::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place; none: there is no room.
    pub(super) fn enter(self: &Arc<Self>, namespace: &str) -> Option<Place> {
        let mut state = self.lock();
        if !state.enter(namespace) {
            return None;
        }
        self.count.send_replace(state.count());
        Some(Place {
            places: Arc::clone(self),
            namespace: namespace.to_owned(),
            lease: None,
        })
    }

    /// Whether this very step runs here under that Lease.
    pub(super) fn runs(&self, namespace: &str, lease: &str, step: StepId) -> bool {
        let state = self.lock();
        let name = (namespace.to_owned(), lease.to_owned());
        state
            .running
            .get(&name)
            .is_some_and(|running| running.step == step)
    }

    /// Cancels the work under that Lease, if it runs here.
    pub(super) fn cancel(&self, namespace: &str, lease: &str) {
        let state = self.lock();
        if let Some(running) = state.running.get(&(namespace.to_owned(), lease.to_owned())) {
            running.cancel.cancel();
        }
    }

    /// Nobody enters any more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
    }

    /// Cancels all work.
    pub(super) fn cancel_all(&self) {
        self.lock()
            .running
            .values()
            .for_each(|running| running.cancel.cancel());
    }

    /// Returns when all places are free.
    pub(super) async fn idle(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`, so this ends with an empty house.
        drop(count.wait_for(|count| *count == 0).await);
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    namespace: String,
    lease: Option<LeaseName>,
}

impl Place {
    /// Notes what runs here, so that it can be found and cancelled.
    pub(super) fn hold(&mut self, lease: &str, step: StepId, cancel: CancellationToken) {
        let name = (self.namespace.clone(), lease.to_owned());
        self.places
            .lock()
            .running
            .insert(name.clone(), Running { step, cancel });
        self.lease = Some(name);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.leave(&self.namespace);
        if let Some(name) = &self.lease {
            state.running.remove(name);
        }
        self.places.count.send_replace(state.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_has_eight_places_and_all_have_thirty_two() {
        let places = Places::new();
        let mut held: Vec<Place> = (0..8).map(|_| places.enter("a").unwrap()).collect();
        assert!(places.enter("a").is_none());
        for namespace in ["b", "c", "d"] {
            held.extend((0..8).map(|_| places.enter(namespace).unwrap()));
        }
        assert_eq!(held.len(), WORKS);
        assert!(places.enter("e").is_none());
        held.remove(0);
        assert!(places.enter("e").is_some());
    }

    #[tokio::test]
    async fn work_is_found_by_its_lease_until_it_leaves() {
        let places = Places::new();
        let step = StepId::new("uid", "migrate-1", "x");
        let cancel = CancellationToken::new();
        let mut place = places.enter("a").unwrap();
        place.hold("sb-1", step, cancel.clone());
        assert!(places.runs("a", "sb-1", step) && !places.runs("b", "sb-1", step));
        assert!(!places.runs("a", "sb-1", StepId::new("uid", "migrate-1", "y")));
        places.cancel("a", "sb-1");
        assert!(cancel.is_cancelled());
        places.close();
        assert!(places.enter("b").is_none());
        let mut idle = Box::pin(places.idle());
        assert!(futures::poll!(idle.as_mut()).is_pending());
        drop(place);
        idle.await;
        assert!(!places.runs("a", "sb-1", step));
    }
}
