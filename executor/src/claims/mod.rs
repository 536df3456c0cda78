//! Long work: claimed in a plan, done beside the plans.
//!
//! Decides the order: room, the step's Lease, the claim, the start in the ledger, the effect, its
//! result. Never retries a claim in place: what it rests on is planned anew.

pub(crate) mod crash;
mod databases;
mod effect;
mod entry;
mod lease;
mod ledger;
mod places;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use signalbox_common::class::ErrorClass;
use signalbox_common::clock;
use signalbox_common::id::StepId;
use signalbox_common::part;
use signalbox_common::wire::action::{CancelStep, ClaimStep, ResolveReferences, ResolveSource};
use signalbox_common::wire::outcome::{ActionResult, Written};
use tokio_util::sync::CancellationToken;

use self::crash::Point;
use self::databases::Databases;
use self::entry::{Entry, Standing};
use self::lease::{Lease, Taken};
use self::places::Places;
use self::work::Claimed;
use crate::api::target::is_name;
use crate::api::{Api, Target, Write};
use crate::conflict;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;
use crate::references::keys::{DigestKeys, KeyError};
use crate::references::{secrets, source};
use crate::sql::Database;

/// Time that long work has at the end of the executor before it is cancelled.
const DRAIN: Duration = Duration::from_secs(20);
/// Time for cancelled work to write its result.
const DRAIN_CANCELLED: Duration = Duration::from_secs(15);

/// What long work needs.
pub(crate) struct LongWorkOptions {
    /// The API server, not bound to a plan.
    pub(crate) api: Api,
    /// Where files of migrations are applied.
    pub(crate) database: Arc<dyn Database>,
    /// Files with digest keys; the first is used, the others are still valid.
    pub(crate) digest_key_files: Vec<PathBuf>,
}

/// Long work of this executor.
pub(crate) struct LongWork {
    api: Api,
    database: Arc<dyn Database>,
    databases: Arc<Databases>,
    places: Arc<Places>,
    keys: DigestKeys,
}

impl LongWork {
    /// Reads the digest keys.
    pub(crate) fn new(options: LongWorkOptions) -> Result<Self, KeyError> {
        let keys = DigestKeys::read(&options.digest_key_files)?;
        Ok(Self {
            api: options.api,
            database: options.database,
            databases: Arc::default(),
            places: Places::new(),
            keys,
        })
    }

    /// The breakers before databases.
    pub(crate) fn databases(&self) -> &Databases {
        &self.databases
    }

    /// Claims a step and starts it; it goes on beside the plans.
    pub(crate) async fn claim(
        &self,
        ctx: &PlanContext,
        step: &ClaimStep,
        id: StepId,
    ) -> Result<Applied, ActionError> {
        check(&step.lease)?;
        if self.places.runs(&ctx.key.namespace, &step.lease, id) {
            return Ok(Applied {
                result: ActionResult::Running,
                written: Vec::new(),
                exact: false,
            });
        }
        let place = self.places.enter(&ctx.key.namespace);
        let mut place = place.ok_or_else(|| ActionError::busy("no place for another long step"))?;
        let work = effect::prepare(ctx, step, id).await?;
        self.databases.admit(work.address())?;
        let lease = match lease::take(ctx, &self.places, step, id).await? {
            Taken::New(lease) => lease,
            Taken::RunsHere => {
                return Ok(Applied {
                    result: ActionResult::Running,
                    written: Vec::new(),
                    exact: false,
                });
            }
        };
        crash::at(Point::Lease);
        let entry = Entry {
            step: step.step.clone(),
            step_id: id,
            attempt: step.attempt,
            executor: ctx.instance.clone(),
            lease: step.lease.clone(),
            started_at: clock::now(),
        };
        let written = self.write_claim(ctx, step, &entry, &lease).await?;
        crash::at(Point::Claim);
        let cancel = CancellationToken::new();
        place.hold(&step.lease, id, cancel.clone());
        let version = written.resource_version.clone();
        let claimed = Claimed {
            ctx: PlanContext {
                api: self.api.clone(),
                cancel: cancel.clone(),
                ..ctx.clone()
            },
            entry,
            effect: step.effect.clone(),
            work,
            database: self.database.clone(),
            databases: self.databases.clone(),
            lease,
            version,
            cancel,
            place,
        };
        part::spawn(work::run(claimed));
        Ok(Applied {
            result: ActionResult::Running,
            written: vec![written],
            exact: false,
        })
    }

    /// Writes the claim, once. Refused, the Lease goes.
    async fn write_claim(
        &self,
        ctx: &PlanContext,
        step: &ClaimStep,
        entry: &Entry,
        lease: &Lease,
    ) -> Result<Written, ActionError> {
        let kind = ctx.key.kind;
        let target = Target::object(kind, &ctx.key.namespace, &ctx.key.name).sub("status");
        let seen = ctx.version(kind.as_str(), &ctx.key.name, &step.resource_version);
        let patch = entry.claim(&ctx.uid, &seen);
        let err = match ctx.api.write(&target, Write::Merge(&patch)).await {
            Ok(object) => return Ok(conflict::written(&target, &object, false)),
            Err(err) => err,
        };
        // Not bound to the plan: it may have to stop, and the Lease must go all the same.
        let live = self.api.get(&target.whole()).await;
        if let Ok(Some(live)) = &live
            && err.unanswered
            && entry.standing(live, &ctx.uid) == Standing::Open
        {
            return Ok(conflict::written(&target, live, true));
        }
        lease.delete(&self.api).await;
        Err(refused(err, live.ok().flatten().as_ref(), &ctx.uid))
    }

    /// Cancels a claimed step by deleting its Lease.
    pub(crate) async fn cancel(
        &self,
        ctx: &PlanContext,
        step: &CancelStep,
    ) -> Result<Applied, ActionError> {
        check(&step.lease)?;
        let target = Target::lease(&ctx.key.namespace, &step.lease);
        let options = lease::delete_options(&step.lease_uid);
        let result = match ctx.api.write(&target, Write::Delete(&options)).await {
            Ok(_) => ActionResult::Done,
            // Gone, or another one by now.
            Err(err) if matches!(err.code, Some(404 | 409)) => ActionResult::FoundDone,
            Err(err) => return Err(err),
        };
        if result == ActionResult::Done {
            // Whoever else holds it finds out at its next renewal.
            self.places.cancel(&ctx.key.namespace, &step.lease);
        }
        Ok(Applied {
            result,
            written: vec![deleted(step)],
            exact: false,
        })
    }

    /// Reads the Secrets that an app names and writes their digests into its status.
    pub(crate) async fn resolve_references(
        &self,
        ctx: &PlanContext,
        wanted: &ResolveReferences,
    ) -> Result<Applied, ActionError> {
        secrets::resolve(ctx, &self.keys, wanted).await
    }

    /// Reads the `ConfigMap` that a migration names and writes its files' digests into its status.
    pub(crate) async fn resolve_source(
        &self,
        ctx: &PlanContext,
        wanted: &ResolveSource,
    ) -> Result<Applied, ActionError> {
        source::resolve(ctx, wanted).await
    }

    /// At the end of the executor: no new work; what runs has 20 s, then it is cancelled.
    pub(crate) async fn drain(&self) {
        self.places.close();
        if tokio::time::timeout(DRAIN, self.places.idle())
            .await
            .is_ok()
        {
            return;
        }
        tracing::warn!("long work is cancelled: the executor ends");
        self.places.cancel_all();
        if tokio::time::timeout(DRAIN_CANCELLED, self.places.idle())
            .await
            .is_err()
        {
            tracing::error!("long work has not ended; its Leases will");
        }
    }
}

fn check(lease: &str) -> Result<(), ActionError> {
    if is_name(lease) {
        return Ok(());
    }
    Err(ActionError::new(
        ErrorClass::Invalid,
        format!("{lease:?} is no name of a Lease"),
    ))
}

/// What a refused claim means: observed anew wherever somebody else was faster.
fn refused(err: ActionError, live: Option<&Value>, uid: &str) -> ActionError {
    let live = live.filter(|live| conflict::uid_of(live) == uid);
    match (err.code, live) {
        (Some(404 | 409), Some(live)) => ActionError {
            class: ErrorClass::Conflict,
            ..err
        }
        .with_live(conflict::trimmed(live)),
        (Some(404 | 409), None) => ActionError {
            class: ErrorClass::Conflict,
            ..err
        },
        _ => err,
    }
}

fn deleted(step: &CancelStep) -> Written {
    Written {
        kind: "Lease".to_owned(),
        name: step.lease.clone(),
        uid: step.lease_uid.clone(),
        resource_version: String::new(),
        deleted: true,
        retried: false,
    }
}
