//! What a delivered Event is answered with: a Plan, an Outcome, or a record in DEAD.
//!
//! Decides without IO, so that every bad input has a unit test. A panic of the pure planner ends here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};
use signalbox_common::bus::Delivery;
use signalbox_common::bus::limits::DEAD_DELIVERY;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::json;
use signalbox_common::panic;
use signalbox_common::record::RECONCILE_ID;
use signalbox_common::subject;
use signalbox_common::wire::plan::Verdict;
use signalbox_common::wire::{
    Cause, Event, MAX_MESSAGE_BYTES, Observation, Outcome, OutcomeResult, Plan, answering, decode,
    schema,
};
use uuid::Uuid;

use crate::version;

/// What stands in messages about an Event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Flight {
    /// Schema in which the Event is answered.
    pub(super) schema: u16,
    /// Cluster, as in the subjects.
    pub(super) cluster: String,
    /// The object.
    pub(super) key: ObjectKey,
    /// Its uid; empty if the Event can't be read.
    pub(super) uid: String,
    /// The flight.
    pub(super) id: ReconcileId,
    /// Trigger behind it.
    pub(super) trigger: Option<String>,
    /// Label of the cause.
    pub(super) cause: &'static str,
}

/// What an Event is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// The Plan, serialised: recorded beside the Event, then published.
    Act(Vec<u8>),
    /// Nothing to do: recorded beside the Event, then the result is reported.
    Rest(Vec<u8>, OutcomeResult),
    /// Nothing to do after a resync: this line alone is recorded.
    Line(Vec<u8>),
    /// The planner failed: the Event is recorded, the result is reported.
    Fail(OutcomeResult),
    /// The Event could not be used: it goes into DEAD, with the reason.
    Dead(String),
}

impl Answer {
    /// The word for metrics.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Act(_) => "act",
            Self::Rest(_, result) => result.label(),
            Self::Line(_) => "settled",
            Self::Fail(_) => "unplannable",
            Self::Dead(_) => "dead",
        }
    }
}

/// Answers a delivery; no flight if not even the subject names an object.
pub(super) fn answer(
    delivery: &Delivery,
    plan: impl FnOnce(&Observation) -> Plan,
) -> (Option<Flight>, Answer) {
    let Some((cluster, key)) = subject::parse_flight(&delivery.subject) else {
        return (None, Answer::Dead("the subject names no object".to_owned()));
    };
    let event = decode::<Event>(&delivery.body).and_then(|event| {
        let seen = &event.observation;
        if seen.key == key && seen.cluster == cluster {
            Ok(event)
        } else {
            Err(format!(
                "the subject is another object's than the body: {}",
                seen.key
            ))
        }
    });
    match event {
        Ok(event) if delivery.delivered < DEAD_DELIVERY => {
            let seen = &event.observation;
            let schema = answering(event.schema);
            (Some(flight_of(seen, schema)), plan_of(seen, schema, plan))
        }
        Ok(event) => {
            let reason = format!("delivered {} times without an answer", delivery.delivered);
            let flight = flight_of(&event.observation, answering(event.schema));
            (Some(flight), Answer::Dead(reason))
        }
        Err(reason) => (Some(guessed(delivery, cluster, key)), Answer::Dead(reason)),
    }
}

/// The Outcome that ends a flight.
pub(super) fn outcome(flight: &Flight, by: &str, result: OutcomeResult) -> Outcome {
    Outcome {
        schema: flight.schema,
        reconcile_id: flight.id,
        key: flight.key.clone(),
        uid: flight.uid.clone(),
        by: by.to_owned(),
        trigger: flight.trigger.clone(),
        result,
        actions: Vec::new(),
        written: Vec::new(),
        live: None,
        not_before: None,
        late: Vec::new(),
        rest: None,
    }
}

/// The planner failed.
pub(super) fn unplannable(message: String) -> OutcomeResult {
    OutcomeResult::Unplannable {
        message,
        planner: version().to_owned(),
    }
}

fn plan_of(seen: &Observation, schema: u16, plan: impl FnOnce(&Observation) -> Plan) -> Answer {
    let mut plan = match catch_unwind(AssertUnwindSafe(|| plan(seen))) {
        Ok(plan) => plan,
        Err(panic) => {
            let said = panic::said(panic.as_ref()).unwrap_or("the planner panicked");
            return Answer::Fail(unplannable(said.to_owned()));
        }
    };
    // Its Outcome comes in the same schema, to whoever wrote the Event.
    plan.schema = schema;
    let body = match serde_json::to_vec(&plan) {
        Ok(body) if body.len() <= MAX_MESSAGE_BYTES => body,
        Ok(body) => {
            let bytes = body.len();
            let message = format!("the plan has {bytes} bytes, more than {MAX_MESSAGE_BYTES}");
            return Answer::Fail(unplannable(message));
        }
        Err(err) => return Answer::Fail(unplannable(format!("the plan can't be written: {err}"))),
    };
    match plan.verdict {
        Verdict::Act { .. } => Answer::Act(body),
        Verdict::Settled if seen.cause == Cause::Resync => Answer::Line(line(seen, &plan)),
        Verdict::Settled => Answer::Rest(body, OutcomeResult::Settled),
        Verdict::Waiting { until, on } => Answer::Rest(body, OutcomeResult::Waiting { until, on }),
    }
}

/// The record of a settled resync.
fn line(seen: &Observation, plan: &Plan) -> Vec<u8> {
    let version = seen
        .object
        .as_ref()
        .map(|object| object.resource_version.as_str());
    let line = json!({
        "schema": plan.schema,
        "reconcileId": plan.reconcile_id,
        "key": plan.key,
        "uid": plan.uid,
        "planner": plan.planner,
        "observation": plan.observation,
        "resourceVersion": version,
    });
    json::text(&line)
}

fn flight_of(seen: &Observation, schema: u16) -> Flight {
    Flight {
        schema,
        cluster: seen.cluster.clone(),
        key: seen.key.clone(),
        uid: seen.uid.clone(),
        id: seen.reconcile_id,
        trigger: seen.cause.trigger().map(|trigger| trigger.id.clone()),
        cause: seen.cause.label(),
    }
}

/// What can be told of an Event that can't be read.
fn guessed(delivery: &Delivery, cluster: String, key: ObjectKey) -> Flight {
    let body: Value = serde_json::from_slice(&delivery.body).unwrap_or_default();
    let text = |pointer: &str| {
        body.pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let id = delivery.headers.get(RECONCILE_ID).cloned();
    let id = id.or_else(|| text("/observation/reconcileId"));
    Flight {
        // What can't be read may be of a newer build, which reads the version before its own.
        schema: schema(),
        cluster,
        key,
        uid: text("/observation/uid").unwrap_or_default(),
        id: ReconcileId(
            id.and_then(|id| Uuid::parse_str(&id).ok())
                .unwrap_or_default(),
        ),
        trigger: text("/observation/cause/trigger/id"),
        cause: "unknown",
    }
}
