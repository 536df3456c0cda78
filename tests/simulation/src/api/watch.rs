//! A watch: the changes after a version, as lines, with bookmarks, until it ends.
//!
//! Decides what a watcher with a selection sees of a change. Faults hold it, cut it, or say that its
//! version is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use signalbox_common::part::Part;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Server;
use super::refusal::Refusal;
use super::request::{From, Selection};
use super::store::{Change, Deed, Kept};
use crate::net::{Net, WatchFault};

/// Time between two bookmarks.
const BOOKMARK: Duration = Duration::from_secs(10);

/// A watch under way.
pub(super) struct Watch {
    pub(super) server: Arc<Server>,
    pub(super) net: Arc<Net>,
    pub(super) part: Part,
    pub(super) selection: Selection,
    pub(super) from: From,
    pub(super) lines: mpsc::UnboundedSender<Bytes>,
}

impl Watch {
    /// Sends until the watch ends or nobody reads.
    pub(super) async fn run(self) {
        let end = Instant::now() + Duration::from_secs(self.from.seconds);
        let mut seen = self.from.version;
        let mut bookmark = Instant::now() + BOOKMARK;
        let resource = self.selection.resource;
        let begin_at = self.server.store().compacted();
        loop {
            if self.lines.is_closed() || self.part.is_dead() {
                return;
            }
            match self.net.watch_fault(&self.part, resource.kind) {
                None => {}
                Some(WatchFault::Cut) => return,
                Some(WatchFault::Gone) => return self.say("ERROR", &expired()),
                Some(WatchFault::Hold(until)) => {
                    sleep_until(until.min(end)).await;
                }
            }
            let news = {
                let store = self.server.store();
                if seen < begin_at || store.forgot(resource.kind, seen) {
                    drop(store);
                    return self.say("ERROR", &expired());
                }
                let news = store.since(seen).iter();
                let news = news.filter(|change| change.place.resource == resource);
                let news: Vec<Arc<Change>> = news.cloned().collect();
                seen = store.version();
                news
            };
            for change in &news {
                self.tell(change);
            }
            let now = Instant::now();
            if now >= end {
                return;
            }
            if now >= bookmark {
                bookmark = now + BOOKMARK;
                if self.from.bookmarks {
                    self.mark(seen);
                }
            }
            // The watch cache of the server is a moment behind.
            // Silence until then is no news.
            let _ = timeout_at(bookmark.min(end), self.server.changed(resource.kind, seen)).await;
            tokio::time::sleep(self.net.watch_delay()).await;
        }
    }

    fn tell(&self, change: &Change) {
        let has = |object: &Kept| self.selection.has(&change.place, object);
        let before = change.before.as_deref().is_some_and(has);
        let (now, event) = match (change.deed, has(&change.object)) {
            (Deed::Deleted, _) if before => (true, "DELETED"),
            (Deed::Deleted, _) | (Deed::Added | Deed::Modified, false) if !before => (false, ""),
            (Deed::Deleted, _) | (Deed::Added | Deed::Modified, false) => (true, "DELETED"),
            (Deed::Added | Deed::Modified, true) if before => (true, "MODIFIED"),
            (Deed::Added | Deed::Modified, true) => (true, "ADDED"),
        };
        if now {
            self.line(event, change.object.text());
        }
    }

    fn mark(&self, version: u64) {
        let resource = self.selection.resource;
        let bookmark = json!({
            "kind": resource.kind, "apiVersion": resource.api_version(),
            "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
        });
        self.say("BOOKMARK", &bookmark);
    }

    fn say(&self, event: &str, object: &Value) {
        self.line(event, object.to_string().as_bytes());
    }

    fn line(&self, event: &str, object: &[u8]) {
        let line = [
            br#"{"type":""#,
            event.as_bytes(),
            br#"","object":"#,
            object,
            b"}\n",
        ];
        // Nobody may read any more; the loop sees that itself.
        let _ = self.lines.send(Bytes::from(line.concat()));
    }
}

fn expired() -> Value {
    Refusal::new(410, "too old resource version").status()
}
