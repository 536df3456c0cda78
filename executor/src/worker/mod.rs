//! The worker: takes plans while there is room, and sees each to its end.
//!
//! Decides how many run at once; never what a plan means.

mod actions;
mod delivery;
mod report;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use signalbox_common::breaker::Guardian;
use signalbox_common::bus::{BusError, Delivery, SharedBus};
use signalbox_common::health::{Check, Health};
use signalbox_common::metrics::Dependency;
use signalbox_common::part;
use signalbox_common::subject::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::claims::LongWork;
use crate::metrics::ExecutorMetrics;

/// Longest wait for a plan; also the longest time without a beat, while there is room.
const FETCH: Duration = Duration::from_secs(1);
/// After a failure to reach the bus.
const AGAIN: Duration = Duration::from_millis(200);
/// A loop that does not beat for this time stands still.
const BEAT: Duration = Duration::from_secs(30);

/// What all plans share.
pub(crate) struct Shared {
    /// The API server behind limits and breaker.
    pub(crate) api: Api,
    /// Breaker before it.
    pub(crate) guardian: Arc<Guardian>,
    /// The bus.
    pub(crate) bus: SharedBus,
    /// Cluster, as in the subjects.
    pub(crate) cluster: String,
    /// This executor.
    pub(crate) instance: String,
    /// Long work.
    pub(crate) work: Arc<LongWork>,
    /// What is counted.
    pub(crate) metrics: ExecutorMetrics,
}

struct Checks {
    bus: Check,
    api: Check,
    database: Check,
    worker: Check,
}

/// Takes plans until `shutdown`; then ends those under way.
pub(crate) async fn work(
    shared: Arc<Shared>,
    max_plans: usize,
    health: &Health,
    shutdown: &CancellationToken,
) {
    let checks = Checks {
        bus: health.check("bus"),
        api: health.check("api"),
        database: health.check("database"),
        worker: health.check_with_beat("worker", BEAT),
    };
    let places = Arc::new(Semaphore::new(max_plans.max(1)));
    let mut running = JoinSet::new();
    while !shutdown.is_cancelled() {
        checks.tell(&shared);
        reap(&mut running, &shared);
        let Some(first) = place(&places, shutdown).await else {
            continue;
        };
        let free = places.available_permits() + 1;
        // Not cut short: what is delivered meanwhile would be lost to this holder.
        match shared.bus.fetch(Stream::Plans, free, FETCH).await {
            Ok(deliveries) => {
                checks.bus.ok();
                begin(&shared, &places, first, deliveries, &mut running, shutdown).await;
            }
            Err(err) => {
                checks.failed(&err);
                drop(tokio::time::timeout(AGAIN, shutdown.cancelled()).await);
            }
        }
    }
    tracing::info!(plans = running.len(), "ending the plans under way");
    shared.bus.leave(Stream::Plans).await;
    while let Some(ended) = running.join_next().await {
        told(ended, &shared);
    }
}

impl Checks {
    fn tell(&self, shared: &Shared) {
        self.worker.ok();
        let guards = shared.metrics.guards();
        let api = shared.guardian.standing();
        guards.tell(Dependency::Api, api);
        self.api.note(api.to_string());
        if api.open {
            self.api.fail("the API server failed too often");
        } else {
            self.api.ok();
        }
        if let Some(bus) = shared.bus.standing() {
            guards.tell(Dependency::Bus, bus);
            self.bus.note(bus.to_string());
        }
        let open = shared.work.databases().open();
        guards.open_of(Dependency::Database, open);
        // One tenant's database is no reason to send nobody's plans here.
        self.database.ok();
        self.database.note(format!("{open} breakers open"));
    }

    fn failed(&self, err: &BusError) {
        self.bus.fail(err.to_string());
    }
}

/// A free place; none: look again (a shutdown, or all places taken for a second).
async fn place(
    places: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        place = places.clone().acquire_owned() => place.ok(),
        // Also a beat while all places are taken.
        _ = tokio::time::timeout(FETCH, shutdown.cancelled()) => None,
    }
}

/// Begins what was taken. After a shutdown it is given back instead.
async fn begin(
    shared: &Arc<Shared>,
    places: &Arc<Semaphore>,
    first: OwnedSemaphorePermit,
    deliveries: Vec<Delivery>,
    running: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) {
    let mut first = Some(first);
    for delivery in deliveries {
        if shutdown.is_cancelled() {
            if let Err(err) = delivery.acker.nak().await {
                tracing::warn!(error = %err, "failed to give a plan back");
            }
            continue;
        }
        // Never waits: no more was asked for than there are places.
        let place = match first.take() {
            Some(place) => Some(place),
            None => places.clone().acquire_owned().await.ok(),
        };
        let shared = shared.clone();
        running.spawn(part::own(async move {
            let _place = place;
            shared.metrics.plan_begun();
            let _running = Running(shared.metrics.clone());
            tracing::debug!(object = ?delivery::object_of(&delivery), "plan taken");
            delivery::handle(shared, delivery).await;
        }));
    }
}

/// A plan under way, for the metric, however it ends.
struct Running(ExecutorMetrics);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.plan_ended();
    }
}

fn reap(running: &mut JoinSet<()>, shared: &Shared) {
    while let Some(ended) = running.try_join_next() {
        told(ended, shared);
    }
}

/// A plan whose task panicked is not acknowledged: it comes again, and is reported as `Interrupted`.
fn told(ended: Result<(), tokio::task::JoinError>, shared: &Shared) {
    if let Err(err) = ended {
        shared.metrics.panicked();
        tracing::error!(error = %err, "a plan's task ended without an outcome");
    }
}
