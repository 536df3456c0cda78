//! Places for requests: 32 at once, and 8 of one namespace while others wait.
//!
//! Decides who goes next; never waits or sends itself. [`Queue`] is pure, [`Limits`] shares it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Requests at once.
pub(crate) const REQUESTS: usize = 32;
/// Requests of one namespace at once while others wait.
pub(crate) const REQUESTS_OF_ONE: usize = 8;

/// Who holds a place and who waits: pure.
#[derive(Debug)]
struct Queue<T> {
    free: usize,
    share: usize,
    held: BTreeMap<String, usize>,
    waiting: VecDeque<(String, T)>,
}

impl<T> Queue<T> {
    const fn new(places: usize, share: usize) -> Self {
        Self {
            free: places,
            share,
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }

    fn join(&mut self, namespace: String, who: T) {
        self.waiting.push_back((namespace, who));
    }

    fn leave(&mut self, namespace: &str) {
        self.free += 1;
        if let Some(count) = self.held.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.held.remove(namespace);
            }
        }
    }

    /// Who gets a place now: first come first served among those below their share, then anyone.
    fn next(&mut self) -> Option<(String, T)> {
        if self.free == 0 {
            return None;
        }
        let below = |(namespace, _): &(String, T)| {
            self.held
                .get(namespace)
                .is_none_or(|count| *count < self.share)
        };
        let place = self.waiting.iter().position(below).unwrap_or(0);
        let (namespace, who) = self.waiting.remove(place)?;
        self.free -= 1;
        *self.held.entry(namespace.clone()).or_default() += 1;
        Some((namespace, who))
    }
}

/// The places, shared by tasks.
#[derive(Debug)]
pub(crate) struct Limits(Mutex<Queue<oneshot::Sender<Place>>>);

impl Limits {
    /// With the numbers of the design.
    pub(crate) fn new() -> Arc<Self> {
        Self::with(REQUESTS, REQUESTS_OF_ONE)
    }

    fn with(places: usize, share: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Queue::new(places, share))))
    }

    fn lock(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place; dropped, it is free again.
    pub(crate) async fn acquire(self: &Arc<Self>, namespace: &str) -> Option<Place> {
        let (sender, receiver) = oneshot::channel();
        self.lock().join(namespace.to_owned(), sender);
        self.serve();
        receiver.await.ok()
    }

    /// Gives free places to those who wait. A place for somebody who has gone comes back by its drop.
    fn serve(self: &Arc<Self>) {
        loop {
            let Some((namespace, sender)) = self.lock().next() else {
                return;
            };
            // The lock is free here: a refused place is dropped, which takes it again.
            drop(sender.send(Place {
                limits: Arc::clone(self),
                namespace,
            }));
        }
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    limits: Arc<Limits>,
    namespace: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limits.lock().leave(&self.namespace);
        self.limits.serve();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(queue: &mut Queue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.next().map(|(_, who)| who)).collect()
    }

    #[test]
    fn one_namespace_has_its_share_while_others_wait() {
        let mut queue = Queue::new(4, 2);
        for who in 0..4 {
            queue.join("a".to_owned(), who);
        }
        queue.join("b".to_owned(), 10);
        assert_eq!(
            taken(&mut queue),
            [0, 1, 10, 2],
            "b goes before the third of a"
        );
        queue.join("c".to_owned(), 20);
        queue.leave("b");
        assert_eq!(taken(&mut queue), [20]);
        queue.leave("a");
        assert_eq!(taken(&mut queue), [3], "nobody else waits");
    }

    #[test]
    fn alone_a_namespace_may_have_all() {
        let mut queue = Queue::new(4, 2);
        for who in 0..6 {
            queue.join("a".to_owned(), who);
        }
        assert_eq!(taken(&mut queue).len(), 4);
    }

    #[tokio::test]
    async fn a_dropped_place_is_given_on_also_past_somebody_who_has_gone() {
        let limits = Limits::with(1, 1);
        let first = limits.acquire("a").await;
        let gone = {
            let mut waiting = Box::pin(limits.acquire("a"));
            assert!(futures::poll!(waiting.as_mut()).is_pending());
            waiting
        };
        let mut last = Box::pin(limits.acquire("b"));
        assert!(futures::poll!(last.as_mut()).is_pending());
        drop(gone);
        drop(first);
        assert!(last.await.is_some());
    }
}
