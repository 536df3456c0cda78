//! The triggers' desk: each is answered once, within its time, after the Outcome of its flight.
//!
//! Decides between applied, no-op and refused; what a trigger changes is the planner's to decide.

use std::time::Duration;

use serde_json::json;
use signalbox_common::bus::Message;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::subject::Stream;
use signalbox_common::wire::{Outcome, SCHEMA, Trigger};
use signalbox_common::{clock, json, part, record};

use super::{Brain, answer};
use crate::intake::Taken;
use crate::queue::At;
use crate::triggers::{self, Answer, Parsed};

/// A trigger is answered within this time.
const WITHIN: Duration = Duration::from_secs(10);

struct Waiting {
    key: ObjectKey,
    trigger: Trigger,
    until: At,
    taken: Taken,
}

/// The triggers that wait for an Outcome; at most as many as TRIGGERS holds.
#[derive(Default)]
pub(super) struct Desk {
    waiting: Vec<Waiting>,
}

impl Brain {
    pub(super) fn taken(&mut self, taken: Taken) {
        let delivery = &taken.delivery;
        let parsed = match triggers::parse(&delivery.subject, &delivery.headers, &delivery.body) {
            Ok(parsed) => parsed,
            Err(reason) => return self.answer(taken, None, Answer::Refused, &reason, None),
        };
        let Parsed { key, trigger } = parsed;
        let Some(object) = self.cache.object(&key).filter(|object| !object.deleting) else {
            let reason = format!("{key} does not exist or is being deleted");
            return self.answer(taken, Some((key, trigger)), Answer::Refused, &reason, None);
        };
        if object.trigger_time.is_some_and(|last| trigger.time < last) {
            let reason = "older than the last applied trigger";
            return self.answer(taken, Some((key, trigger)), Answer::NoOp, reason, None);
        }
        if self
            .desk
            .waiting
            .iter()
            .any(|other| other.key == key && other.trigger.id == trigger.id)
        {
            let reason = "a trigger with this id is under way";
            return self.answer(taken, Some((key, trigger)), Answer::NoOp, reason, None);
        }
        let now = self.now();
        self.queue.trigger(&key, trigger.clone(), now);
        self.desk.waiting.push(Waiting {
            key,
            trigger,
            until: now + WITHIN,
            taken,
        });
    }

    /// The flight of a trigger has ended.
    pub(super) fn trigger_ended(&mut self, id: &str, outcome: &Outcome) {
        let place = self
            .desk
            .waiting
            .iter()
            .position(|waiting| waiting.trigger.id == id && waiting.key == outcome.key);
        let Some(place) = place else { return };
        let Some((answer, reason)) = answer::of(outcome) else {
            let trigger = self
                .desk
                .waiting
                .get(place)
                .map(|waiting| waiting.trigger.clone());
            let now = self.now();
            if let Some(trigger) = trigger {
                self.queue.trigger(&outcome.key, trigger, now);
            }
            return;
        };
        let Waiting {
            key,
            trigger,
            taken,
            ..
        } = self.desk.waiting.swap_remove(place);
        self.queue.withdraw(&key, &trigger.id, self.epoch.elapsed());
        self.answer(
            taken,
            Some((key, trigger)),
            answer,
            &reason,
            Some(outcome.reconcile_id),
        );
    }

    /// Refuses the triggers whose time is over; another holder may have those whose delivery is lost.
    pub(super) fn trigger_deadlines(&mut self) {
        let now = self.now();
        let over = |waiting: &Waiting| waiting.until <= now || waiting.taken.hold.is_lost();
        let (late, waiting) = std::mem::take(&mut self.desk.waiting)
            .into_iter()
            .partition(over);
        self.desk.waiting = waiting;
        let late: Vec<Waiting> = late;
        for Waiting {
            key,
            trigger,
            taken,
            until,
        } in late
        {
            self.queue.withdraw(&key, &trigger.id, now);
            if until <= now {
                let reason = "no outcome within 10 s";
                self.answer(taken, Some((key, trigger)), Answer::Refused, reason, None);
            }
        }
    }

    /// Records, answers and acknowledges, beside everything else.
    fn answer(
        &self,
        taken: Taken,
        about: Option<(ObjectKey, Trigger)>,
        answer: Answer,
        reason: &str,
        flight: Option<ReconcileId>,
    ) {
        let Taken { delivery, hold } = taken;
        tracing::info!(
            subject = delivery.subject,
            result = answer.label(),
            reason,
            "trigger"
        );
        self.means
            .meters
            .triggers
            .with_label_values(&[answer.label()])
            .inc();
        let id = triggers::id_of(&delivery.headers, &delivery.body);
        let to = triggers::answer_to(&delivery);
        let mut records = Vec::new();
        if answer == Answer::Refused {
            let body = delivery.body.clone();
            records.push(record::dead_message(
                Stream::Triggers,
                &delivery.subject,
                reason,
                body,
            ));
        }
        if let Some((key, trigger)) = about {
            let flight = flight.unwrap_or_else(|| ReconcileId(part::fresh_id()));
            records.push(self.entry(&key, &trigger, answer, reason, flight));
        }
        let bus = self.means.bus.clone();
        let body = answer.body(&id, reason);
        part::spawn(async move {
            for message in records {
                if let Err(error) = bus.publish(message).await {
                    tracing::warn!(%error, "failed to record a trigger");
                }
            }
            if let Some(to) = to
                && let Err(error) = bus.answer(to, body).await
            {
                tracing::warn!(%error, "failed to answer a trigger");
            }
            if let Err(error) = delivery.acker.ack().await {
                // It comes again, and is a no-op then.
                tracing::warn!(%error, "failed to acknowledge a trigger");
            }
            drop(hold);
        });
    }

    fn entry(
        &self,
        key: &ObjectKey,
        trigger: &Trigger,
        answer: Answer,
        reason: &str,
        flight: ReconcileId,
    ) -> Message {
        let body = json!({
            "schema": SCHEMA,
            "key": key,
            "trigger": trigger,
            "result": answer.label(),
            "reason": reason,
            "answeredAt": clock::now(),
        });
        let body = json::text(&body);
        record::ledger_message_of(
            &self.means.cluster,
            "trigger",
            &trigger.id,
            key,
            flight,
            body,
        )
    }
}
