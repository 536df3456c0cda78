//! What the ledger keeps of long work: its start, before the effect, and its result.
//!
//! Names and digests only; never a statement, a URL or a Secret's data.

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::clock;
use signalbox_common::json;
use signalbox_common::record;
use signalbox_common::wire::SCHEMA;
use signalbox_common::wire::action::Effect;
use tokio::time::Instant;

use super::entry::{Entry, Finished};
use crate::context::PlanContext;

/// Time in which an entry must be acknowledged.
const LIMIT: Duration = Duration::from_secs(20);
/// Time between two tries.
const PAUSE: Duration = Duration::from_secs(1);

fn body(ctx: &PlanContext, entry: &Entry) -> Value {
    json!({
        "schema": SCHEMA,
        "reconcileId": ctx.reconcile_id,
        "key": ctx.key,
        "uid": ctx.uid,
        "actor": ctx.actor,
        "at": clock::now(),
        "step": entry.step,
        "stepId": entry.step_id,
        "attempt": entry.attempt,
        "executor": entry.executor,
        "lease": entry.lease,
    })
}

/// Records the start; no effect before it is acknowledged.
pub(super) async fn start(ctx: &PlanContext, entry: &Entry, effect: &Effect) -> Result<(), String> {
    let mut body = body(ctx, entry);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("effect".to_owned(), json!(effect));
    }
    publish(ctx, "start", entry, &body).await
}

/// Records the result.
pub(super) async fn result(
    ctx: &PlanContext,
    entry: &Entry,
    finished: &Finished,
) -> Result<(), String> {
    let mut body = body(ctx, entry);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("state".to_owned(), json!(finished.state));
        fields.insert(
            "class".to_owned(),
            json!(finished.class.map(ErrorClass::label)),
        );
        fields.insert("message".to_owned(), json!(finished.message));
        fields.insert("effectMs".to_owned(), json!(finished.effect_ms));
        fields.insert("foundDone".to_owned(), json!(finished.found_done));
    }
    publish(ctx, "result", entry, &body).await
}

/// Publishes until it is acknowledged; the ledger keeps one of the same step and attempt.
async fn publish(
    ctx: &PlanContext,
    kind: &'static str,
    entry: &Entry,
    body: &Value,
) -> Result<(), String> {
    let extra = format!("{}/{}", entry.step_id, entry.attempt);
    let bytes = json::text(body);
    let message = record::ledger_message_of(
        &ctx.cluster,
        kind,
        &extra,
        &ctx.key,
        ctx.reconcile_id,
        bytes,
    );
    let begun = Instant::now();
    loop {
        match ctx.bus.publish(message.clone()).await {
            Ok(_) => return Ok(()),
            Err(err) if begun.elapsed() + PAUSE >= LIMIT => return Err(err.to_string()),
            Err(err) => tracing::debug!(kind, error = %err, "the ledger did not acknowledge"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}
