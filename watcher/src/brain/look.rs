//! Looking around: at the streams, at Leases, at what is due; and what a start or a loss asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;
use signalbox_common::bus::{BusError, StreamState};
use signalbox_common::clock;
use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::metrics::Dependency;
use signalbox_common::subject::Stream;
use signalbox_common::wire::Cause;

use super::{Brain, Phase, TICK};
use crate::cache::custom::Custom;
use crate::compare::Inventory;
use crate::flights::{self, Listing};
use crate::queue::{At, Change, Priority};
use crate::watch::Source;

/// How often at most the streams are listed.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How often their states are looked at.
const STATES_EVERY: Duration = Duration::from_secs(2);
/// How often caches are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// What a look found.
pub(super) enum Found {
    /// The flights, as listed.
    Flights(Result<Listing, BusError>),
    /// States only.
    States(Result<BTreeMap<Stream, StreamState>, BusError>),
}

/// A look under way.
pub(super) struct Look {
    began: At,
    found: BoxFuture<'static, Found>,
}

/// What a look found and when it began; pending while there is none.
pub(super) async fn finished(look: &mut Option<Look>) -> (At, Found) {
    let Some(under_way) = look else {
        return std::future::pending().await;
    };
    let found = (&mut under_way.found).await;
    let began = under_way.began;
    *look = None;
    (began, found)
}

impl Brain {
    pub(super) fn tick_if_due(&mut self) {
        let now = self.now();
        if now < self.ticked_at + TICK {
            return;
        }
        self.ticked_at = now;
        self.means.beat.ok();
        self.check_watches(now);
        self.judge_leases(now);
        self.trigger_deadlines();
        self.begin_look(now);
        self.meter(now);
    }

    fn check_watches(&self, now: At) {
        let blind = self.sources.blind(now);
        self.means
            .meters
            .blind
            .set(i64::try_from(blind.len()).unwrap_or(i64::MAX));
        if !blind.is_empty() {
            self.means
                .watches
                .fail(format!("blind: {}", blind.join(", ")));
        } else if self.sources.all_filled(now) {
            self.means.watches.ok();
        } else {
            self.means.watches.fail("caches are not filled");
        }
    }

    fn judge_leases(&mut self, now: At) {
        if self.phase != Phase::Active || !self.sources.runs(Source::Leases) {
            return;
        }
        for (name, owners) in self.cache.leases.judge(now) {
            self.lease_news(&name, &owners);
        }
        let open: Vec<(ObjectKey, Custom)> = self
            .cache
            .objects()
            .filter(|(_, object)| !object.open.is_empty())
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        self.cache.leases.retain_claims(|key, lease| {
            open.iter()
                .any(|(of, object)| of == key && object.open.iter().any(|c| *c.lease == *lease))
        });
        for (key, object) in open {
            for name in self.cache.leases.judge_claims(&key, &object, now) {
                let cause = Cause::Child {
                    kind: "Lease".to_owned(),
                    name,
                };
                self.changed(&key, Change::news(cause, Priority::Drift));
            }
        }
    }

    /// Who leads and has its caches filled does not wait for the next tick.
    pub(super) fn look_if_filled(&mut self) {
        let now = self.now();
        if self.may_become_active(now) {
            self.begin_look(now);
        }
    }

    /// Whether it leads, has its caches filled, and lacks only a look at the flights.
    fn may_become_active(&self, now: At) -> bool {
        self.phase == Phase::Arriving && self.sources.all_filled(now)
    }

    fn begin_look(&mut self, now: At) {
        // A standby looks too, at the states: it is ready only if it could take over.
        if self.look.is_some() {
            return;
        }
        let arriving = self.may_become_active(now);
        let old = self.queue.has_old_flight(now);
        let bus = self.means.bus.clone();
        let since = now.saturating_sub(self.looked_at);
        let found = if arriving || (old && since >= LIST_EVERY) {
            let cluster = self.means.cluster.clone();
            async move { Found::Flights(flights::list(bus, cluster).await) }.boxed()
        } else if since >= STATES_EVERY {
            async move { Found::States(flights::states(bus).await) }.boxed()
        } else {
            return;
        };
        self.looked_at = now;
        self.look = Some(Look { began: now, found });
    }

    pub(super) fn looked(&mut self, (began, found): (At, Found)) {
        let (listing, states) = match found {
            Found::Flights(Ok(listing)) => (Some(listing.found), listing.states),
            Found::States(Ok(states)) => (None, states),
            Found::Flights(Err(error)) | Found::States(Err(error)) => {
                self.means.bus_check.fail(error.to_string());
                return;
            }
        };
        self.means.bus_check.ok();
        let is_lost = flights::is_lost(&self.states, &states);
        if is_lost {
            self.stored = 0;
        }
        self.states = states;
        let now = self.now();
        if let Some(found) = listing {
            for key in self.queue.listed(&found, began, now) {
                tracing::warn!(%key, "flight lost");
            }
            if self.phase == Phase::Arriving {
                tracing::info!(flights = found.len(), "active");
                self.phase = Phase::Active;
                self.means.active.send_replace(true);
                if !is_lost {
                    self.everything_is_dirty();
                }
            }
        }
        if is_lost {
            self.bus_lost("a stream was made anew or went back");
        }
        // It may have been one at states alone.
        self.look_if_filled();
    }

    /// The bus lost what it had, and nobody can tell what: everything is published again.
    pub(super) fn bus_lost(&mut self, why: &str) {
        self.means.meters.bus_losses.inc();
        tracing::warn!(why, "the bus lost messages: everything is published again");
        // One that does not send yet will begin with everything anyway.
        if self.phase == Phase::Active {
            self.everything_is_dirty();
        }
    }

    /// A start, a takeover or a loss: first what is unfinished, then all others.
    fn everything_is_dirty(&mut self) {
        let clock = clock::now();
        let all: Vec<_> = self
            .cache
            .objects()
            .map(|(key, object)| (key.clone(), start_of(object, clock), object.next_wake))
            .collect();
        for (key, change, wake) in all {
            self.changed(&key, change);
            let at = wake.filter(|wake| *wake > clock).map(|wake| self.at(wake));
            self.queue.wake(&key, at);
        }
        let gone: Vec<ObjectKey> = self.gone.keys().cloned().collect();
        for key in gone {
            self.changed(&key, Change::news(Cause::Gone, Priority::Drift));
        }
    }

    /// A relist to compare with: what differs a moment later still makes the watch list anew.
    pub(super) fn compare(&mut self, inventory: Inventory) {
        let differences = inventory.differences(&self.cache.inventory(inventory.source));
        if differences > 0 && inventory.second_look {
            let kind = inventory.source.kind();
            tracing::warn!(kind, differences, "the cache differs from a relist");
            let count = u64::try_from(differences).unwrap_or(u64::MAX);
            self.means.meters.differences.inc_by(count);
            if let Some(again) = self.means.again.get(&inventory.source) {
                again.notify_one();
            }
        }
        inventory.tell(differences);
    }

    fn meter(&mut self, now: At) {
        let counts = self.queue.counts();
        let meters = &self.means.meters;
        if let Some(bus) = self.means.bus.standing() {
            meters.guards.tell(Dependency::Bus, bus);
            self.means.bus_check.note(bus.to_string());
        }
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        meters.flights.set(whole(counts.flights));
        meters.dirty.set(whole(counts.dirty));
        meters
            .coalesced
            .inc_by(counts.coalesced.saturating_sub(self.counted.coalesced));
        meters
            .lost
            .inc_by(counts.lost.saturating_sub(self.counted.lost));
        self.counted = counts;
        meters
            .oldest_dirty
            .set(self.queue.oldest_dirty(now).as_secs_f64());
        if now < self.counted_at + COUNT_EVERY && self.counted_at > Duration::ZERO {
            return;
        }
        self.counted_at = now;
        let objects = |kind: &str, count: usize| {
            meters.objects.with_label_values(&[kind]).set(whole(count));
        };
        for kind in Kind::ALL {
            objects(kind.as_str(), self.cache.count_objects(kind));
        }
        for kind in ChildKind::ALL {
            objects(kind.as_str(), self.cache.count_children(kind));
        }
        objects("Lease", self.cache.leases.len());
    }
}

/// How an object is served at a start.
fn start_of(object: &Custom, clock: Timestamp) -> Change {
    let (cause, priority) = if object.deleting {
        (Cause::Deletion, Priority::Urgent)
    } else if object.observed != object.generation {
        (
            Cause::Spec {
                generation: object.generation,
            },
            Priority::Spec,
        )
    } else if object.is_unfinished(clock) {
        (Cause::Timer, Priority::Drift)
    } else {
        (Cause::Resync, Priority::Resync)
    };
    Change::news(cause, priority)
}
