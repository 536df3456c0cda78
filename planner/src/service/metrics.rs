//! What the planner counts. Labels are closed sets.

use prometheus::{Histogram, IntCounterVec, IntGauge};
use signalbox_common::metrics::{Metrics, MetricsError};

/// The planner's metrics.
pub(super) struct Counts {
    /// Events by cause and result.
    pub(super) events: IntCounterVec,
    /// Sends that were refused and tried again, by what was sent.
    pub(super) retries: IntCounterVec,
    /// Seconds that `plan` took.
    pub(super) planning: Histogram,
    /// Seconds from the delivery of an Event to its acknowledgement.
    pub(super) handling: Histogram,
    /// Events in work.
    pub(super) in_work: IntGauge,
}

impl Counts {
    /// Registers all.
    pub(super) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            events: metrics.counters(
                "events",
                "Events taken from the bus, by cause and what came of them.",
                &["cause", "result"],
            )?,
            retries: metrics.counters(
                "send_retries",
                "Messages that the bus did not take at once, by stream.",
                &["stream"],
            )?,
            planning: metrics.seconds("planning", "Time that the pure plan took.")?,
            handling: metrics.seconds("handling", "Time from an Event to its acknowledgement.")?,
            in_work: metrics.gauge("events_in_work", "Events that are being worked on.")?,
        })
    }
}
