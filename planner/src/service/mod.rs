//! The planner's service: takes Events from the bus, plans each, records and sends what came of it.
//!
//! Decides no plan: [`crate::plan`] does. Keeps no state, so any number may run side by side; has no client
//! of the Kubernetes API.

mod answer;
mod desk;
mod metrics;
mod post;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use signalbox_common::bus::SharedBus;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::class::{Classify, ErrorClass};
use signalbox_common::config::CommonArgs;
use signalbox_common::health::{Check, Health};
use signalbox_common::metrics::{Dependency, Guards, Metrics};
use signalbox_common::part;
use signalbox_common::subject::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::desk::Desk;
use self::metrics::Counts;

/// Events that are worked on at once: planning takes a millisecond, the bus's answers take longer.
const WORKERS: usize = 32;
/// How long one fetch waits for Events.
const FETCH_WAIT: Duration = Duration::from_secs(1);
/// A fetch loop that does not turn for so long is stalled.
const BEAT: Duration = Duration::from_secs(15);
/// Pause after the bus refused a fetch.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the end waits for Events that are being worked on.
const GRACE: Duration = Duration::from_secs(5);

/// Arguments of the planner.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "signalbox-planner", version, about = "Turns Events into Plans")]
pub struct Args {
    /// What every part is told.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Why the planner could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The bus refused or did not answer.
    #[error("failed to connect to the bus: {0}")]
    Bus(#[from] signalbox_common::bus::BusError),
    /// The address of the health server is taken.
    #[error(transparent)]
    Listen(#[from] signalbox_common::health::ServeError),
    /// A metric can't be made.
    #[error(transparent)]
    Metrics(#[from] signalbox_common::metrics::MetricsError),
}

impl Classify for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Bus(err) => err.class(),
            Self::Listen(err) => err.class(),
            Self::Metrics(err) => err.class(),
        }
    }
}

/// Runs a planner until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), RunError> {
    let bus = JetStreamBus::connect(&args.common, Role::Planner).await?;
    run_with(bus, &args.common, shutdown).await
}

/// The same on a bus that is connected already.
pub async fn run_with(
    bus: SharedBus,
    args: &CommonArgs,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let health = Health::new();
    let metrics = Metrics::new("planner");
    let counts = Counts::new(&metrics)?;
    let checks = Checks {
        bus: health.check("bus"),
        worker: health.check_with_beat("worker", BEAT),
        guards: Guards::new(&metrics)?,
    };
    // The health server outlives the shutdown, as long as Events are in work.
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    signalbox_common::health::serve(args.listen, health, metrics, ended).await?;
    let by = format!("planner/{}", args.instance);
    let desk = Arc::new(Desk::new(bus.clone(), by, counts, shutdown.clone()));
    let free = Arc::new(Semaphore::new(WORKERS));
    take_events(&bus, &desk, &free, &checks, &shutdown).await;
    bus.leave(Stream::Events).await;
    let all = u32::try_from(WORKERS).unwrap_or(u32::MAX);
    if tokio::time::timeout(GRACE, free.acquire_many(all))
        .await
        .is_err()
    {
        tracing::warn!("ending with Events in work; they are delivered again");
    }
    Ok(())
}

/// What /readyz tells.
struct Checks {
    bus: Check,
    worker: Check,
    guards: Guards,
}

impl Checks {
    /// The loop turns, and this is how it stands with the bus.
    fn tell(&self, bus: &SharedBus) {
        self.worker.ok();
        if let Some(standing) = bus.standing() {
            self.guards.tell(Dependency::Bus, standing);
            self.bus.note(standing.to_string());
        }
    }
}

/// Fetches as many Events as there are free workers, until `shutdown`.
async fn take_events(
    bus: &SharedBus,
    desk: &Arc<Desk>,
    free: &Arc<Semaphore>,
    checks: &Checks,
    shutdown: &CancellationToken,
) {
    while !shutdown.is_cancelled() {
        checks.tell(bus);
        let Some(mut permits) = permits(free, shutdown).await else {
            break;
        };
        // Not cut off by the shutdown: what it has been given must not be dropped.
        match bus.fetch(Stream::Events, permits.len(), FETCH_WAIT).await {
            Ok(deliveries) => {
                checks.bus.ok();
                for delivery in deliveries {
                    let permit = permits.pop();
                    let desk = desk.clone();
                    part::spawn(async move {
                        desk.handle(delivery).await;
                        drop(permit);
                    });
                }
            }
            Err(error) => {
                checks.bus.fail(error.to_string());
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(PAUSE) => {}
                    () = shutdown.cancelled() => {}
                }
            }
        }
    }
}

/// All free workers, at least one; none at the end.
async fn permits(
    free: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = tokio::select! {
        biased;
        permit = free.clone().acquire_owned() => permit.ok()?,
        () = shutdown.cancelled() => return None,
    };
    let mut permits = vec![first];
    while let Ok(permit) = free.clone().try_acquire_owned() {
        permits.push(permit);
    }
    Some(permits)
}
