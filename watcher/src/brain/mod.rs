//! The one task that knows everything: caches, queue and what is under way.
//!
//! Everything reaches it through channels and futures, so it never waits for a server while others have
//! news. Decisions stand in [`crate::queue`] and [`crate::cache`]; here they meet IO.

mod answer;
mod arrivals;
mod conflicts;
mod desk;
mod look;
mod send;
#[cfg(test)]
mod start_tests;
mod told;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use signalbox_common::bus::{PublishError, SharedBus, StreamState};
use signalbox_common::clock;
use signalbox_common::health::Check;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::subject::Stream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::compare::Inventory;
use crate::intake::Taken;
use crate::lease::Leadership;
use crate::meters::Meters;
use crate::outcomes::Arrived;
use crate::queue::{At, Counts, Queue};
use crate::sources::Sources;
use crate::watch::{Source, Told};
use conflicts::Conflicts;
use desk::Desk;
use look::Look;

/// How often the loop looks around by itself.
const TICK: Duration = Duration::from_millis(250);
/// Most news of the watches that are taken before the queue is asked again.
const BATCH: usize = 256;

/// Where this watcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Another one leads; caches are kept warm.
    Standby,
    /// It leads, but knows not yet which flights there are, or not all caches are filled.
    Arriving,
    /// It leads and sends.
    Active,
}

/// What the loop listens to.
pub(crate) struct Ears {
    pub(crate) watches: mpsc::Receiver<(Source, Told)>,
    pub(crate) outcomes: mpsc::Receiver<Arrived>,
    pub(crate) triggers: mpsc::Receiver<Taken>,
    pub(crate) inventories: mpsc::Receiver<Inventory>,
    pub(crate) leading: watch::Receiver<Leadership>,
}

/// What the loop works with.
pub(crate) struct Means {
    pub(crate) bus: SharedBus,
    pub(crate) cluster: String,
    pub(crate) meters: Meters,
    /// The loop's own beat.
    pub(crate) beat: Check,
    pub(crate) watches: Check,
    pub(crate) bus_check: Check,
    /// Tells whether OUTCOMES is drained. Each of these has one listener: which of several hears first
    /// would be chance.
    pub(crate) drains: watch::Sender<bool>,
    /// Tells whether triggers may be taken.
    pub(crate) active: watch::Sender<bool>,
    /// It leads without the Lease: another may do so too.
    pub(crate) forced: bool,
    /// Makes a watch list anew.
    pub(crate) again: HashMap<Source, Arc<Notify>>,
}

/// An Event that was sent, and what the bus said to it.
struct Published {
    key: ObjectKey,
    id: ReconcileId,
    /// The highest sequence that EVENTS had given when it was sent.
    floor: u64,
    result: Result<u64, PublishError>,
}

pub(crate) struct Brain {
    means: Means,
    queue: Queue,
    cache: Cache,
    sources: Sources,
    epoch: Instant,
    phase: Phase,
    /// Uids of objects that are gone and not yet reported.
    gone: BTreeMap<ObjectKey, String>,
    /// The live object behind the last conflict of an object.
    conflicts: Conflicts,
    desk: Desk,
    states: BTreeMap<Stream, StreamState>,
    /// The highest sequence that EVENTS has given, as far as this watcher knows.
    stored: u64,
    publishing: FuturesUnordered<BoxFuture<'static, Published>>,
    look: Option<Look>,
    looked_at: At,
    ticked_at: At,
    counted_at: At,
    counted: Counts,
}

impl Brain {
    pub(crate) fn new(means: Means) -> Self {
        Self {
            queue: Queue::new(means.forced),
            means,
            cache: Cache::default(),
            sources: Sources::new(),
            epoch: Instant::now(),
            phase: Phase::Standby,
            gone: BTreeMap::new(),
            conflicts: Conflicts::default(),
            desk: Desk::default(),
            states: BTreeMap::new(),
            stored: 0,
            publishing: FuturesUnordered::new(),
            look: None,
            looked_at: Duration::ZERO,
            ticked_at: Duration::ZERO,
            counted_at: Duration::ZERO,
            counted: Counts::default(),
        }
    }

    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, mut ears: Ears, shutdown: CancellationToken) {
        loop {
            self.lead(ears.leading.borrow_and_update().holds(Instant::now()));
            let next = self.pump();
            let wait = self.wait(next);
            tokio::select! {
                // Rare and bounded news first: the watches are never silent in a storm.
                biased;
                () = shutdown.cancelled() => break,
                Ok(()) = ears.leading.changed() => {}
                Some(arrived) = ears.outcomes.recv() => {
                    self.arrived(arrived);
                    while let Ok(arrived) = ears.outcomes.try_recv() {
                        self.arrived(arrived);
                    }
                }
                Some(published) = self.publishing.next(), if !self.publishing.is_empty() => {
                    self.published(published);
                }
                seen = look::finished(&mut self.look) => self.looked(seen),
                Some(taken) = ears.triggers.recv() => self.taken(taken),
                Some(inventory) = ears.inventories.recv() => self.compare(inventory),
                Some((source, told)) = ears.watches.recv() => {
                    self.told(source, told);
                    for _ in 0..BATCH {
                        let Ok((source, told)) = ears.watches.try_recv() else { break };
                        self.told(source, told);
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
            self.tick_if_due();
        }
        self.means.active.send_replace(false);
        self.means.meters.leader.set(0);
    }

    fn now(&self) -> At {
        self.epoch.elapsed()
    }

    /// A wall clock time on the queue's clock; the past is now.
    fn at(&self, time: Timestamp) -> At {
        let ahead = Duration::try_from(time.duration_since(clock::now())).unwrap_or_default();
        self.now() + ahead
    }

    fn wait(&self, next: Option<At>) -> Duration {
        let now = self.now();
        let tick = (self.ticked_at + TICK).saturating_sub(now);
        next.map_or(tick, |next| next.saturating_sub(now).min(tick))
    }

    /// This watcher leads from now on, or does not any more.
    fn lead(&mut self, leads: bool) {
        let phase = if leads {
            Phase::Arriving
        } else {
            Phase::Standby
        };
        if leads == (self.phase != Phase::Standby) {
            return;
        }
        tracing::info!(leads, "leadership");
        self.phase = phase;
        self.queue.clear();
        self.conflicts.clear();
        self.gone.clear();
        self.desk = Desk::default();
        self.stored = 0;
        self.look = None;
        self.means.drains.send_replace(leads);
        self.means.active.send_replace(false);
        self.means.meters.leader.set(i64::from(leads));
        self.look_if_filled();
    }
}
