//! The events of one watch, as the plan lets them through.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::status;
use super::seen::Seen;
use crate::director::Director;
use crate::fault::{Fault, Place, Return};
use crate::valve::{Direction, Valve};
use crate::views::Event;

type Sender = mpsc::UnboundedSender<Bytes>;

/// One watch.
pub(super) struct Watch {
    pub(super) resource: String,
    pub(super) director: Arc<Director>,
    pub(super) valve: Arc<Valve>,
    seen: Arc<Seen>,
}

impl Watch {
    pub(super) const fn new(
        resource: String,
        director: Arc<Director>,
        valve: Arc<Valve>,
        seen: Arc<Seen>,
    ) -> Self {
        Self {
            resource,
            director,
            valve,
            seen,
        }
    }

    /// A watch in the past tells nothing; whether it goes on when the past ends.
    pub(super) async fn in_the_past(&mut self, by: Return, to: &Sender) -> bool {
        tokio::select! {
            () = self.director.views.present(&self.resource) => {}
            () = to.closed() => return false,
        }
        match by {
            Return::Restart => true,
            Return::Cut => {
                // The part may have ended meanwhile.
                let _ = to.send(gone());
                false
            }
        }
    }

    /// Passes events on until either side ends.
    pub(super) async fn run(mut self, mut from: Incoming, to: Sender) {
        let mut buffer = BytesMut::new();
        let director = self.director.clone();
        loop {
            let frame = tokio::select! {
                frame = from.frame() => frame,
                line = director.views.overdue(&self.resource) => {
                    if to.send(line).is_err() {
                        return;
                    }
                    continue;
                }
                () = to.closed() => return,
            };
            let Some(Ok(frame)) = frame else {
                return;
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            buffer.extend_from_slice(&data);
            while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                let line = buffer.split_to(end + 1).freeze();
                self.valve.pass(Direction::ToPart).await;
                if !self.event(line, &to).await {
                    return;
                }
            }
        }
    }

    /// Whether the watch goes on.
    async fn event(&mut self, line: Bytes, to: &Sender) -> bool {
        let event: Value = serde_json::from_slice(&line).unwrap_or_default();
        let word = |path: &str| {
            let found = event.pointer(path).and_then(Value::as_str);
            found.unwrap_or_default()
        };
        let object = format!(
            "{}/{}",
            word("/object/metadata/namespace"),
            word("/object/metadata/name")
        );
        let (kind, resource) = (word("/type"), self.resource.as_str());
        let text = format!("api event {kind} {resource} {object}");
        let about = format!("{resource} {object}");
        let changes = self
            .seen
            .changes(kind, &about, event.get("object").unwrap_or(&Value::Null));
        let Ok(step) = self.director.arrive_with(&text, false, changes) else {
            return false;
        };
        let views = self.director.views.clone();
        let about = Event {
            resource,
            object: &object,
            text: &step.text,
            occurrence: step.occurrence,
        };
        if views.keeps_back(about, &line) {
            return true;
        }
        let pass = |line: Bytes| to.send(line).is_ok();
        let goes_on = match step.fault {
            None
            | Some(
                Fault::Refuse { .. }
                | Fault::Lose(_)
                | Fault::Pause
                | Fault::Reject(_)
                | Fault::Raise(_),
            ) => pass(line),
            Some(Fault::Drop) => true,
            Some(Fault::Duplicate) => pass(line.clone()) && pass(line),
            Some(Fault::Delay { ms }) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                pass(line)
            }
            Some(Fault::Cut) => false,
            Some(Fault::Gone) => {
                pass(gone());
                false
            }
            Some(Fault::Hold {
                until,
                nth,
                at_most_ms,
            }) => {
                views.hold(about, (until, nth), at_most_ms, line);
                true
            }
            Some(Fault::Past(from)) => {
                views.keep(resource, word("/object/metadata/resourceVersion"), from);
                pass(line)
            }
            Some(Fault::Kill(Place::After)) => {
                let passed = pass(line);
                self.director.doom();
                passed
            }
            Some(Fault::Kill(Place::Before | Place::Answer)) => {
                self.director.kill();
                false
            }
        };
        match views.turns_back(about) {
            None => goes_on,
            Some(Return::Restart) => {
                self.director.kill();
                false
            }
            Some(Return::Cut) => {
                pass(gone());
                false
            }
        }
    }
}

fn gone() -> Bytes {
    format!(r#"{{"type":"ERROR","object":{}}}{}"#, status(410), "\n").into()
}
