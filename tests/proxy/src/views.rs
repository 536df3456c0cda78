//! What a part is shown of the world: states that it never sees, and a past that it is led back to.
//!
//! Decides which watch events are held, since when the past is shown and when it ends. Never makes an
//! answer: the past is asked of the API server itself, by its version.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::fault::{Past, Return};
use crate::plan::fits;

/// The views of one part.
pub(crate) struct Views {
    state: Mutex<State>,
    /// The past, while it is shown.
    shown: watch::Sender<Option<Shown>>,
}

#[derive(Default)]
struct State {
    /// Grows with each run, so that a timer of a former one does nothing.
    run: u64,
    held: Option<Held>,
    kept: Option<Kept>,
    was_shown: bool,
}

/// An object of which nothing is told.
struct Held {
    resource: String,
    object: String,
    until: String,
    nth: u32,
    /// What was told of it last.
    latest: Bytes,
    ends: Option<Instant>,
}

/// A moment to come back to.
struct Kept {
    resource: String,
    version: String,
    past: Past,
}

/// What is shown of the past.
#[derive(Clone)]
struct Shown {
    /// Of this kind; none: of all.
    resource: Option<String>,
    version: String,
    by: Return,
    ms: u64,
    /// Its time runs from the first list on.
    runs: bool,
}

/// One event of a watch, in words.
#[derive(Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) resource: &'a str,
    /// Namespace and name.
    pub(crate) object: &'a str,
    /// As traces write it.
    pub(crate) text: &'a str,
    pub(crate) occurrence: u32,
}

impl Views {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            shown: watch::channel(None).0,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another run: everything is shown as it is.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        *state = State {
            run: state.run + 1,
            ..State::default()
        };
        drop(state);
        self.shown.send_replace(None);
    }

    /// From this event on nothing of its object is told.
    pub(crate) fn hold(
        &self,
        event: Event<'_>,
        (until, nth): (String, u32),
        at_most_ms: Option<u64>,
        line: Bytes,
    ) {
        self.state().held = Some(Held {
            resource: event.resource.to_owned(),
            object: event.object.to_owned(),
            until,
            nth,
            latest: line,
            ends: at_most_ms.map(|ms| Instant::now() + Duration::from_millis(ms)),
        });
    }

    /// Whether an event is kept back; the one that ends it is not.
    pub(crate) fn keeps_back(&self, event: Event<'_>, line: &Bytes) -> bool {
        let mut state = self.state();
        let Some(held) = &mut state.held else {
            return false;
        };
        if held.resource != event.resource || held.object != event.object {
            return false;
        }
        if event.occurrence >= held.nth && fits(&held.until, event.text) {
            state.held = None;
            return false;
        }
        held.latest = line.clone();
        true
    }

    /// What is told of a held object when its time is over.
    pub(crate) async fn overdue(&self, resource: &str) -> Bytes {
        let ends = {
            let state = self.state();
            let held = state.held.as_ref();
            held.filter(|held| held.resource == resource)
                .and_then(|held| held.ends)
        };
        match ends {
            Some(ends) => tokio::time::sleep_until(ends).await,
            None => std::future::pending().await,
        }
        match self.state().held.take() {
            Some(held) => held.latest,
            None => Bytes::new(),
        }
    }

    /// The state at this version is what the part will be led back to.
    pub(crate) fn keep(&self, resource: &str, version: &str, past: Past) {
        self.state().kept = Some(Kept {
            resource: resource.to_owned(),
            version: version.to_owned(),
            past,
        });
    }

    /// Whether this event ends the present, and how: from now on the past is shown.
    pub(crate) fn turns_back(&self, event: Event<'_>) -> Option<Return> {
        let mut state = self.state();
        let kept = state.kept.take_if(|kept| {
            kept.resource == event.resource
                && event.occurrence >= kept.past.nth
                && fits(&kept.past.until, event.text)
        })?;
        state.was_shown = true;
        drop(state);
        let Past { by, ms, .. } = kept.past;
        self.shown.send_replace(Some(Shown {
            resource: (by == Return::Cut).then_some(kept.resource),
            version: kept.version,
            by,
            ms,
            runs: false,
        }));
        Some(by)
    }

    /// Whether everything is shown as it is.
    pub(crate) fn are_true(&self) -> bool {
        self.state().held.is_none() && self.shown.borrow().is_none()
    }

    /// Whether the past was shown in this run.
    pub(crate) fn was_past(&self) -> bool {
        self.state().was_shown
    }

    /// The version that a list is answered from; none: the newest.
    pub(crate) fn version_of(self: &Arc<Self>, resource: &str) -> Option<String> {
        let mut begins = None;
        let mut version = None;
        self.shown.send_if_modified(|shown| {
            if let Some(shown) = shown.as_mut().filter(|shown| shown.is_of(resource)) {
                version = Some(shown.version.clone());
                if !shown.runs {
                    shown.runs = true;
                    begins = Some(shown.ms);
                }
            }
            false
        });
        if let Some(ms) = begins {
            let (views, run) = (Arc::clone(self), self.state().run);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if views.state().run == run {
                    views.shown.send_replace(None);
                }
            });
        }
        version
    }

    /// While the past of a kind is shown, how the part got there.
    pub(crate) fn past_of(&self, resource: &str) -> Option<Return> {
        let shown = self.shown.borrow();
        let shown = shown.as_ref().filter(|shown| shown.is_of(resource));
        shown.map(|shown| shown.by)
    }

    /// Returns when a kind is shown as it is.
    pub(crate) async fn present(&self, resource: &str) {
        let mut shown = self.shown.subscribe();
        // The sender lives as long as this.
        let _ = shown
            .wait_for(|shown| !shown.as_ref().is_some_and(|shown| shown.is_of(resource)))
            .await;
    }
}

impl Shown {
    fn is_of(&self, resource: &str) -> bool {
        self.resource.as_deref().is_none_or(|of| of == resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str, occurrence: u32) -> Event<'_> {
        Event {
            resource: "pods",
            object: "n/a",
            text,
            occurrence,
        }
    }

    #[tokio::test]
    async fn a_held_object_is_told_of_again_at_its_event_or_at_the_end_of_its_time() {
        let views = Views::new();
        let line = |text: &'static str| Bytes::from_static(text.as_bytes());
        let until = || ("MODIFIED a".to_owned(), 3);
        views.hold(event("MODIFIED a", 1), until(), Some(50), line("1"));
        assert!(views.keeps_back(event("MODIFIED a", 2), &line("2")));
        let other = Event {
            object: "n/b",
            ..event("MODIFIED b", 9)
        };
        assert!(!views.keeps_back(other, &line("b")));
        assert!(!views.keeps_back(event("MODIFIED a", 3), &line("3")));
        views.hold(event("MODIFIED a", 1), until(), Some(50), line("1"));
        assert!(views.keeps_back(event("MODIFIED a", 2), &line("2")));
        assert_eq!(views.overdue("pods").await, line("2"));
        assert!(!views.keeps_back(event("MODIFIED a", 2), &line("2")));
    }

    #[tokio::test]
    async fn the_past_lasts_from_its_first_list_on() {
        let views = Views::new();
        let past = |by| Past {
            until: "DELETED a".to_owned(),
            nth: 1,
            by,
            ms: 50,
        };
        views.keep("pods", "7", past(Return::Cut));
        assert_eq!(views.turns_back(event("MODIFIED a", 1)), None);
        assert_eq!(views.version_of("pods"), None);
        assert_eq!(views.turns_back(event("DELETED a", 1)), Some(Return::Cut));
        tokio::time::sleep(Duration::from_millis(90)).await;
        assert_eq!(views.version_of("services"), None, "a cut is of one kind");
        assert_eq!(views.version_of("pods").as_deref(), Some("7"));
        let begun = Instant::now();
        views.present("pods").await;
        assert!(begun.elapsed() >= Duration::from_millis(49));
        assert_eq!(views.version_of("pods"), None);
        assert!(views.was_past());

        views.keep("pods", "7", past(Return::Restart));
        assert!(views.turns_back(event("DELETED a", 1)).is_some());
        assert_eq!(views.version_of("services").as_deref(), Some("7"));
        views.clear();
        assert_eq!(views.past_of("services"), None);
        assert!(!views.was_past());
    }
}
