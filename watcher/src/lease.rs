//! Leadership: a Lease of 3 s, renewed every second by compare-and-set on its resourceVersion.
//!
//! Decides who sends Events. Efficiency, never safety: two leaders at once are harmless. This is the only
//! thing that the watcher writes.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use signalbox_common::clock;
use signalbox_common::health::Check;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Name of the Lease.
pub(crate) const NAME: &str = "signalbox-watcher";
/// A Lease that is not renewed for this long is free.
const DURATION: Duration = Duration::from_secs(3);
/// Its holder stops a little earlier than others may take it.
const HOLDS: Duration = Duration::from_millis(2_800);
/// How often it is renewed.
const EVERY: Duration = Duration::from_secs(1);
/// How often a standby looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The longest pause while the right to the Lease is missing.
const FORBIDDEN_PAUSE: Duration = Duration::from_secs(10);
/// A request may take this long.
const WITHIN: Duration = Duration::from_secs(1);

/// Whether this watcher leads. A process that stood still goes by the end, before it has heard of anybody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leadership {
    /// It does not.
    Standby,
    /// Until then, unless the Lease is renewed.
    Until(Instant),
    /// Without the Lease.
    Forced,
}

impl Leadership {
    /// Whether it leads now.
    pub(crate) fn holds(self, now: Instant) -> bool {
        match self {
            Self::Standby => false,
            Self::Until(end) => now < end,
            Self::Forced => true,
        }
    }
}

/// Runs for the Lease until `shutdown`, then releases it.
pub(crate) async fn lead(
    client: Client,
    namespace: String,
    instance: String,
    leading: watch::Sender<Leadership>,
    check: Check,
    shutdown: CancellationToken,
) {
    let mut candidate = Candidate {
        api: Api::namespaced(client, &namespace),
        instance,
        observed: None,
        renewed: None,
    };
    let mut pause = EVERY;
    while !shutdown.is_cancelled() {
        let result = tokio::time::timeout(WITHIN, candidate.step()).await;
        let mut forbidden = false;
        match result {
            Ok(Ok(())) => check.ok(),
            Ok(Err(error)) => {
                forbidden = is_forbidden(&error);
                if forbidden {
                    check.fail(error.to_string());
                } else {
                    tracing::warn!(%error, "failed to hold the Lease");
                }
            }
            Err(_elapsed) => tracing::warn!("no answer about the Lease in time"),
        }
        let now = Instant::now();
        let leadership = candidate.leadership(now);
        let leads = leadership.holds(now);
        leading.send_if_modified(|told| {
            let changed = told.holds(now) != leads;
            *told = leadership;
            changed
        });
        pause = if forbidden {
            (pause * 2).min(FORBIDDEN_PAUSE)
        } else {
            EVERY
        };
        let wait = match (forbidden, leads) {
            (true, _) => pause,
            (false, true) => EVERY,
            (false, false) => LOOK_EVERY,
        };
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => {}
        }
    }
    leading.send_replace(Leadership::Standby);
    if candidate.renewed.is_some() {
        let released = tokio::time::timeout(WITHIN, candidate.release()).await;
        tracing::info!(
            released = matches!(released, Ok(Ok(()))),
            "gave the Lease back"
        );
    }
}

/// Whether the right to it is missing, which no haste heals.
fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

struct Candidate {
    api: Api<Lease>,
    instance: String,
    /// The version last seen, and since when it is the same.
    observed: Option<(String, Instant)>,
    /// When the renewal that holds was sent.
    renewed: Option<Instant>,
}

impl Candidate {
    fn leadership(&mut self, now: Instant) -> Leadership {
        // One renewal may fail; before the others may take it, this one has stopped.
        let until = self
            .renewed
            .map_or(Leadership::Standby, |at| Leadership::Until(at + HOLDS));
        if !until.holds(now) {
            self.renewed = None;
            return Leadership::Standby;
        }
        until
    }

    /// Takes or renews it, if it is free or ours.
    async fn step(&mut self) -> Result<(), kube::Error> {
        let now = Instant::now();
        let Some(lease) = self.api.get_opt(NAME).await? else {
            let lease = self.taken(Lease::default(), true);
            self.api.create(&PostParams::default(), &lease).await?;
            self.renewed = Some(now);
            return Ok(());
        };
        let version = lease.resource_version().unwrap_or_default();
        let since = match &self.observed {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.observed = Some((version, since));
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.clone());
        let holder = holder.unwrap_or_default();
        let ours = holder == self.instance;
        // Judged by this clock alone: unchanged for its whole duration.
        let free = holder.is_empty() || now.saturating_duration_since(since) >= DURATION;
        if !ours && !free {
            self.renewed = None;
            return Ok(());
        }
        let lease = self.taken(lease, !ours);
        match self.api.replace(NAME, &PostParams::default(), &lease).await {
            Ok(_) => {
                self.renewed = Some(now);
                Ok(())
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.observed = None;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn taken(&self, mut lease: Lease, anew: bool) -> Lease {
        let now = MicroTime(clock::now());
        lease.metadata.name = Some(NAME.to_owned());
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.instance.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now.clone());
        if anew {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(-1).saturating_add(1));
        }
        lease
    }

    async fn release(&self) -> Result<(), kube::Error> {
        let mut lease = self.api.get(NAME).await?;
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.instance.as_str()) {
            return Ok(());
        }
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(clock::now()));
        }
        self.api
            .replace(NAME, &PostParams::default(), &lease)
            .await
            .map(|_| ())
    }
}
