//! One claimed step at work, beside the plans: start on record, effect, result, end of the Lease.
//!
//! Decides when the work is cancelled and when its result may still be written. Never claims.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use signalbox_common::class::ErrorClass;
use signalbox_common::clock;
use signalbox_common::wire::action::Effect;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::databases::Databases;
use super::effect::{self, At, Work};
use super::entry::{Entry, Finished, Standing};
use super::lease::Lease;
use super::ledger;
use super::places::Place;
use crate::api::{Api, Target, Write};
use crate::conflict;
use crate::context::PlanContext;
use crate::error::ActionError;
use crate::sql::Database;

/// Time in which the result must be written; then the claim ends without one.
const WRITE_LIMIT: Duration = Duration::from_mins(1);
/// Time before a failed write is tried again.
const WRITE_AGAIN: Duration = Duration::from_millis(500);

/// A claimed step.
pub(super) struct Claimed {
    /// What the plan knew; its API is bound to this work, not to the plan.
    pub(super) ctx: PlanContext,
    pub(super) entry: Entry,
    pub(super) effect: Effect,
    pub(super) work: Work,
    pub(super) database: Arc<dyn Database>,
    /// The breakers, which are told whether the database could be reached.
    pub(super) databases: Arc<Databases>,
    pub(super) lease: Lease,
    /// Version of the object after the claim.
    pub(super) version: String,
    pub(super) cancel: CancellationToken,
    pub(super) place: Place,
}

/// Does the work and writes what came of it.
pub(super) async fn run(claimed: Claimed) {
    let Claimed {
        ctx,
        entry,
        effect,
        work,
        database,
        databases,
        mut lease,
        version,
        cancel,
        place,
    } = claimed;
    let api = ctx.api.clone();
    let finished = {
        let mut at_work = std::pin::pin!(async {
            let finished = match start(&ctx, &entry, &effect, &cancel).await {
                Ok(()) => {
                    let at = At {
                        database: &*database,
                        breakers: &databases,
                    };
                    effect_of(&entry, &work, at, &cancel).await
                }
                Err(finished) => finished,
            };
            write(&ctx, &entry, version, &finished).await;
            finished
        });
        tokio::select! {
            biased;
            finished = &mut at_work => finished,
            why = lease.keep(&api, &ctx.instance) => {
                tracing::warn!(step = %entry.step_id, %why, "long work is cancelled");
                cancel.cancel();
                at_work.await
            }
        }
    };
    if let Err(err) = ledger::result(&ctx, &entry, &finished).await {
        tracing::warn!(step = %entry.step_id, error = err, "a result is not on record");
    }
    lease.delete(&api).await;
    drop(place);
}

/// Puts the start on record; an error is the end of the work.
async fn start(
    ctx: &PlanContext,
    entry: &Entry,
    effect: &Effect,
    cancel: &CancellationToken,
) -> Result<(), Finished> {
    let started = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(Finished::cancelled("cancelled before it began")),
        started = ledger::start(ctx, entry, effect) => started,
    };
    started.map_err(|err| {
        let message = format!("not begun: the ledger did not acknowledge the start: {err}");
        Finished::failed(ErrorClass::Transient, &message)
    })
}

async fn effect_of(entry: &Entry, work: &Work, at: At<'_>, cancel: &CancellationToken) -> Finished {
    let finished = effect::run(work, at, cancel).await;
    tracing::info!(
        step = %entry.step_id, key = entry.step, attempt = entry.attempt, result = finished.label(),
        class = finished.class.map(ErrorClass::label), message = finished.message,
        found_done = finished.found_done, effect_ms = finished.effect_ms, "long work ended"
    );
    finished
}

/// Writes the result into the work's own entry, again after a conflict, while the entry is its own.
async fn write(ctx: &PlanContext, entry: &Entry, version: String, finished: &Finished) {
    let target = Target::object(ctx.key.kind, &ctx.key.namespace, &ctx.key.name).sub("status");
    let begun = Instant::now();
    let mut version = version;
    loop {
        let patch = entry.result(&ctx.uid, &version, finished, clock::now());
        let Err(err) = ctx.api.write(&target, Write::Merge(&patch)).await else {
            return;
        };
        match look(&ctx.api, ctx, entry, &target).await {
            Ok(Some(live)) => conflict::version_of(&live).clone_into(&mut version),
            Ok(None) => {
                tracing::info!(step = %entry.step_id, "the claim is closed or another's by now");
                return;
            }
            Err(unread) => {
                tracing::warn!(step = %entry.step_id, error = %unread, "a claim was not read");
            }
        }
        if begun.elapsed() + WRITE_AGAIN >= WRITE_LIMIT {
            tracing::error!(step = %entry.step_id, error = %err, "a result was not written");
            return;
        }
        if err.code != Some(409) {
            tracing::warn!(step = %entry.step_id, error = %err, "a result was not written yet");
            tokio::time::sleep(WRITE_AGAIN).await;
        }
    }
}

/// The object, if the claim in it is ours and open.
async fn look(
    api: &Api,
    ctx: &PlanContext,
    entry: &Entry,
    target: &Target,
) -> Result<Option<Value>, ActionError> {
    let live = api.get(&target.whole()).await?;
    Ok(live.filter(|live| match entry.standing(live, &ctx.uid) {
        Standing::Open => true,
        Standing::Closed | Standing::NotOurs => false,
    }))
}
