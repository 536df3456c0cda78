//! Sending: from the queue's decision to a message in EVENTS, and what its refusal means.

use futures::FutureExt as _;
use signalbox_common::bus::PublishError;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::subject::Stream;
use signalbox_common::wire::Cause;
use signalbox_common::{clock, part, record};

use super::{Brain, Phase, Published};
use crate::observe::{self, View, Wanted};
use crate::queue::{At, Decision, Refusal};

impl Brain {
    /// Sends what may be sent now; returns when to ask again.
    pub(super) fn pump(&mut self) -> Option<At> {
        if self.phase != Phase::Active {
            return None;
        }
        loop {
            let now = self.now();
            match self.queue.next(now, &mut || ReconcileId(part::fresh_id())) {
                Decision::Send { key, id, cause } => self.send(key, id, cause),
                Decision::Sleep(until) => return until,
            }
        }
    }

    fn send(&mut self, key: ObjectKey, id: ReconcileId, cause: Cause) {
        if matches!(cause, Cause::Timer) {
            // It is tried anew: what stood in the way may be gone, and nobody would tell.
            self.conflicts.forget(&key);
        }
        let view = View {
            cache: &self.cache,
            queue: &self.queue,
            sources: &self.sources,
            cluster: &self.means.cluster,
            now: self.now(),
            clock: clock::now(),
        };
        let label = cause.label();
        let gone = self.gone.get(&key).map(String::as_str);
        let wanted = Wanted {
            key: &key,
            id,
            cause,
            gone,
            conflict: self.conflicts.of(&key),
        };
        let body = observe::event(view, &wanted);
        let message = body.and_then(|body| {
            record::flight_message(&self.means.cluster, Stream::Events, &key, id, body)
        });
        let Some(message) = message else {
            let now = self.now();
            self.queue.cancelled(&key, id, now);
            self.queue.forget_if_idle(&key);
            return;
        };
        tracing::debug!(%key, reconcile_id = %id, cause = label, bytes = message.body.len(), "event");
        let bus = self.means.bus.clone();
        let floor = self.stored;
        let publish = async move {
            let result = bus.publish(message).await;
            Published {
                key,
                id,
                floor,
                result,
            }
        };
        self.publishing.push(publish.boxed());
    }

    pub(super) fn published(&mut self, published: Published) {
        let Published {
            key,
            id,
            floor,
            result,
        } = published;
        let error = match result {
            Ok(sequence) => {
                self.means.meters.published.inc();
                // Until a look would find it rewound, a busy stream may have passed its former end.
                if floor > 0 && sequence <= floor {
                    self.stored = sequence;
                    // One loss is told once: the next look has nothing to compare with.
                    self.states.clear();
                    self.bus_lost("EVENTS gave a sequence again");
                } else {
                    self.stored = self.stored.max(sequence);
                }
                return;
            }
            Err(error) => error,
        };
        let (refusal, reason) = match &error {
            PublishError::Occupied(_) => (Refusal::Occupied, "occupied"),
            PublishError::Full(_) => (Refusal::Full, "full"),
            PublishError::Unknown(..) => (Refusal::Unknown, "unknown"),
            PublishError::TooLarge { .. } => (Refusal::Never, "too_large"),
            PublishError::Forbidden(_) => (Refusal::Never, "forbidden"),
        };
        self.means.meters.refused.with_label_values(&[reason]).inc();
        tracing::debug!(%key, %error, "event not stored");
        let now = self.now();
        self.queue.refused(&key, id, refusal, now);
    }
}
