//! The events of one watch, as the plan lets them through.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::sync::mpsc;

use super::answer::status;
use crate::director::Director;
use crate::plan::{Fault, Place, fits};
use crate::valve::{Direction, Valve};

/// One watch.
pub(super) struct Watch {
    pub(super) resource: String,
    pub(super) director: Arc<Director>,
    pub(super) valve: Arc<Valve>,
    /// What is held: an object and the event that ends it.
    held: Option<(String, String)>,
}

impl Watch {
    pub(super) const fn new(resource: String, director: Arc<Director>, valve: Arc<Valve>) -> Self {
        Self {
            resource,
            director,
            valve,
            held: None,
        }
    }

    /// Passes events on until either side ends.
    pub(super) async fn run(mut self, mut from: Incoming, to: mpsc::UnboundedSender<Bytes>) {
        let mut buffer = BytesMut::new();
        loop {
            let frame = tokio::select! {
                frame = from.frame() => frame,
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
    async fn event(&mut self, line: Bytes, to: &mpsc::UnboundedSender<Bytes>) -> bool {
        let event: Value = serde_json::from_slice(&line).unwrap_or_default();
        let word = |path: &str| {
            event
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let object = format!(
            "{}/{}",
            word("/object/metadata/namespace"),
            word("/object/metadata/name")
        );
        let text = format!("api event {} {} {object}", word("/type"), self.resource);
        let Ok(step) = self.director.arrive(&text, false) else {
            return false;
        };
        if let Some((held, until)) = &self.held {
            if *held == object && !fits(until, &step.text) {
                return true;
            }
            if *held == object {
                self.held = None;
            }
        }
        let pass = |line: Bytes| to.send(line).is_ok();
        match step.fault {
            None | Some(Fault::Refuse { .. } | Fault::Lose(_) | Fault::Pause) => pass(line),
            Some(Fault::Drop) => true,
            Some(Fault::Duplicate) => pass(line.clone()) && pass(line),
            Some(Fault::Delay { ms }) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                pass(line)
            }
            Some(Fault::Cut) => false,
            Some(Fault::Gone) => {
                pass(format!(r#"{{"type":"ERROR","object":{}}}{}"#, status(410), "\n").into());
                false
            }
            Some(Fault::Hold { until }) => {
                self.held = Some((object, until));
                true
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
        }
    }
}
