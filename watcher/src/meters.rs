//! The watcher's metrics. Labels are closed sets; no object's name is ever one.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use signalbox_common::metrics::{Guards, Metrics, MetricsError};

/// All of them.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    /// Flights now.
    pub(crate) flights: IntGauge,
    /// Dirty objects now.
    pub(crate) dirty: IntGauge,
    /// Age of the oldest dirty object.
    pub(crate) oldest_dirty: Gauge,
    /// Events that the bus has taken.
    pub(crate) published: IntCounter,
    /// Events that the bus refused.
    pub(crate) refused: IntCounterVec,
    /// Changes that were coalesced.
    pub(crate) coalesced: IntCounter,
    /// Flights that were lost.
    pub(crate) lost: IntCounter,
    /// Whether this watcher leads.
    pub(crate) leader: IntGauge,
    /// Cached objects.
    pub(crate) objects: IntGaugeVec,
    /// Kinds that can't be watched.
    pub(crate) blind: IntGauge,
    /// Differences that a comparison with a relist found.
    pub(crate) differences: IntCounter,
    /// Triggers by result.
    pub(crate) triggers: IntCounterVec,
    /// How often the bus lost what it had.
    pub(crate) bus_losses: IntCounter,
    /// Breaker and retry budget before the bus.
    pub(crate) guards: Guards,
}

impl Meters {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            flights: metrics.gauge("flights", "Flights now.")?,
            dirty: metrics.gauge("dirty", "Dirty objects now.")?,
            oldest_dirty: metrics.quantity(
                "oldest_dirty",
                "seconds",
                "Age of the oldest dirty object.",
            )?,
            published: metrics.counter("events_published", "Events that the bus has taken.")?,
            refused: metrics.counters(
                "publish_refused",
                "Events that the bus refused.",
                &["reason"],
            )?,
            coalesced: metrics.counter("coalesced", "Changes coalesced with an earlier one.")?,
            lost: metrics.counter("lost_flights", "Flights found in no stream.")?,
            leader: metrics.gauge("leader", "1 if this watcher leads.")?,
            objects: metrics.gauges("cache_objects", "Cached objects.", &["kind"])?,
            blind: metrics.gauge("blind", "Kinds that can't be watched now.")?,
            differences: metrics.counter(
                "relist_differences",
                "Objects that a comparison with a relist found to differ.",
            )?,
            triggers: metrics.counters("triggers", "Triggers by result.", &["result"])?,
            bus_losses: metrics.counter(
                "bus_losses",
                "Times that a stream was found lost or rewound.",
            )?,
            guards: Guards::new(metrics)?,
        })
    }
}
