//! The Lease of a step: made once, renewed every 2 s, deleted at the end.
//!
//! Decides when the right to go on is lost. Efficiency only: what makes an effect happen once is the
//! claim and the history, never the Lease.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::{Value, json};
use signalbox_common::clock;
use signalbox_common::id::StepId;
use signalbox_common::wire::action::ClaimStep;
use signalbox_crds::names::{ANNOTATION_RECONCILE, LABEL_OWNER, LABEL_OWNER_KIND, LABEL_STEP};
use tokio::time::Instant;

use super::places::Places;
use crate::api::{Api, Target, Write};
use crate::conflict;
use crate::context::PlanContext;
use crate::error::ActionError;

/// How long a Lease lives without a renewal, in seconds.
const DURATION_SECONDS: i64 = 6;
/// Time between two renewals.
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// Time before a failed renewal is tried again.
const RENEW_AGAIN: Duration = Duration::from_millis(500);
/// Without a renewal for this long the work stops: a second before others may take over.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Annotation with the step's id: who made the Lease, and for what.
const ANNOTATION_STEP_ID: &str = "signalbox.dev/step-id";

/// A Lease that this executor holds.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    target: Target,
    uid: String,
    version: String,
    /// When its last renewal was sent.
    renewed: Instant,
}

/// What came of the wish for a Lease.
pub(super) enum Taken {
    /// It is ours, and new.
    New(Lease),
    /// The same step runs here under it.
    RunsHere,
}

/// Why a renewal did not happen.
enum NotRenewed {
    /// The Lease is gone or another's.
    Lost,
    /// Nobody knows.
    Failed(ActionError),
}

/// Makes the step's Lease. Never takes over one that exists.
pub(super) async fn take(
    ctx: &PlanContext,
    places: &Places,
    step: &ClaimStep,
    id: StepId,
) -> Result<Taken, ActionError> {
    let target = Target::lease(&ctx.key.namespace, &step.lease);
    let sent = Instant::now();
    let err = match ctx
        .api
        .write(&target, Write::Post(&object(ctx, step, id)))
        .await
    {
        Ok(made) => return Ok(Taken::New(Lease::of(target, &made, sent))),
        Err(err) => err,
    };
    if err.code != Some(409) && !err.unanswered {
        return Err(err);
    }
    let Ok(Some(live)) = ctx.api.get(&target).await else {
        return Err(err);
    };
    if holder(&live) == ctx.instance && places.runs(&ctx.key.namespace, &step.lease, id) {
        return Ok(Taken::RunsHere);
    }
    if is_made_by(&live, ctx, id) {
        return Ok(Taken::New(Lease::of(target, &live, sent)));
    }
    let held = holder(&live);
    Err(ActionError::conflict(format!(
        "Lease {} of step {} is held by {held}",
        step.lease, step.step
    )))
}

fn object(ctx: &PlanContext, step: &ClaimStep, id: StepId) -> Value {
    let now = MicroTime(clock::now());
    let kind = ctx.key.kind.as_str();
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": step.lease,
            "namespace": ctx.key.namespace,
            "labels": {
                LABEL_STEP: label_value(&step.step),
                LABEL_OWNER: label_value(&ctx.key.name),
                LABEL_OWNER_KIND: kind.to_ascii_lowercase(),
            },
            "annotations": {
                ANNOTATION_RECONCILE: ctx.reconcile_id.to_string(),
                ANNOTATION_STEP_ID: id.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": format!("{}/{}", signalbox_crds::GROUP, signalbox_crds::VERSION),
                "kind": kind,
                "name": ctx.key.name,
                "uid": ctx.uid,
            }],
        },
        "spec": {
            "holderIdentity": ctx.instance,
            "leaseDurationSeconds": DURATION_SECONDS,
            "acquireTime": now,
            "renewTime": now,
        },
    })
}

/// `text` as a label may hold it.
fn label_value(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text: String = text
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(63)
        .collect();
    text.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

fn holder(live: &Value) -> &str {
    live.pointer("/spec/holderIdentity")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn annotation<'a>(live: &'a Value, name: &str) -> &'a str {
    let annotations = live.pointer("/metadata/annotations");
    annotations
        .and_then(|all| all.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether a Lease is the one that this very action made: the answer to its creation was lost.
fn is_made_by(live: &Value, ctx: &PlanContext, id: StepId) -> bool {
    holder(live) == ctx.instance
        && annotation(live, ANNOTATION_RECONCILE) == ctx.reconcile_id.to_string()
        && annotation(live, ANNOTATION_STEP_ID) == id.to_string()
        && !conflict::is_terminating(live)
}

impl Lease {
    fn of(target: Target, object: &Value, renewed: Instant) -> Self {
        let uid = conflict::uid_of(object).to_owned();
        let version = conflict::version_of(object).to_owned();
        Self {
            target,
            uid,
            version,
            renewed,
        }
    }

    /// Renews it again and again; returns why the right to go on is lost.
    pub(super) async fn keep(&mut self, api: &Api, instance: &str) -> String {
        let mut pause = RENEW_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            let sent = Instant::now();
            let left = LOST_AFTER.saturating_sub(self.renewed.elapsed());
            match tokio::time::timeout(left, self.renew(api, instance)).await {
                Ok(Ok(())) => {
                    self.renewed = sent;
                    pause = RENEW_EVERY;
                }
                Ok(Err(NotRenewed::Lost)) => return "its Lease is gone".to_owned(),
                Ok(Err(NotRenewed::Failed(err))) => {
                    tracing::warn!(lease = self.target.name, error = %err, "a renewal failed");
                    pause = RENEW_AGAIN;
                }
                Err(_) => pause = Duration::ZERO,
            }
            if self.renewed.elapsed() >= LOST_AFTER {
                return format!(
                    "its Lease could not be renewed for {} s",
                    LOST_AFTER.as_secs()
                );
            }
        }
    }

    /// Renews it; a version that somebody else has moved on is read first.
    async fn renew(&mut self, api: &Api, instance: &str) -> Result<(), NotRenewed> {
        for _ in 0..3 {
            let body = json!({
                "metadata": { "uid": self.uid, "resourceVersion": self.version },
                "spec": { "renewTime": MicroTime(clock::now()) },
            });
            match api.write(&self.target, Write::Merge(&body)).await {
                Ok(live) => return self.adopt(&live, instance),
                Err(err) if matches!(err.code, Some(404 | 409 | 422)) => {}
                Err(err) => return Err(NotRenewed::Failed(err)),
            }
            match api.get(&self.target).await {
                Ok(Some(live)) => self.adopt(&live, instance)?,
                Ok(None) => return Err(NotRenewed::Lost),
                Err(err) => return Err(NotRenewed::Failed(err)),
            }
        }
        Err(NotRenewed::Failed(ActionError::conflict(
            "somebody else keeps changing the Lease",
        )))
    }

    fn adopt(&mut self, live: &Value, instance: &str) -> Result<(), NotRenewed> {
        let ours = conflict::uid_of(live) == self.uid && holder(live) == instance;
        if !ours || conflict::is_terminating(live) {
            return Err(NotRenewed::Lost);
        }
        conflict::version_of(live).clone_into(&mut self.version);
        Ok(())
    }

    /// Deletes it, fenced by uid. One that can't be deleted ends by itself.
    pub(super) async fn delete(&self, api: &Api) {
        let options = delete_options(&self.uid);
        for _ in 0..3 {
            match api.write(&self.target, Write::Delete(&options)).await {
                Ok(_) => return,
                Err(err) if matches!(err.code, Some(404 | 409)) => return,
                Err(err) => {
                    tracing::warn!(lease = self.target.name, error = %err, "a Lease was not deleted");
                    tokio::time::sleep(RENEW_AGAIN).await;
                }
            }
        }
    }
}

/// Deletion of this very object, whatever its version: a renewal must not save it.
pub(super) fn delete_options(uid: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": { "uid": uid },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_any_step() {
        assert_eq!(label_value("migrate-1.2"), "migrate-1.2");
        assert_eq!(label_value("migrate/1 "), "migrate-1");
        assert_eq!(label_value(&"9".repeat(80)).len(), 63);
    }

    #[tokio::test]
    async fn only_the_same_lease_of_the_same_holder_is_kept() {
        let live = json!({
            "metadata": { "uid": "u", "resourceVersion": "8" },
            "spec": { "holderIdentity": "me" },
        });
        let target = Target::lease("n", "sb-1");
        let mut lease = Lease::of(target, &live, Instant::now());
        assert!(lease.adopt(&live, "me").is_ok());
        assert!(lease.adopt(&live, "other").is_err());
        let mut another = live.clone();
        another["metadata"]["uid"] = json!("v");
        assert!(lease.adopt(&another, "me").is_err());
        let mut going = live;
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(lease.adopt(&going, "me").is_err());
    }
}
