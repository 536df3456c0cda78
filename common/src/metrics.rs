//! Metrics: one registry a part, names `signalbox_<component>_<noun>_<unit|total>`.
//!
//! Never takes a label from an object's name: labels are closed sets.

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::breaker::Standing;
use crate::bus::signed::REFUSED;
use crate::class::{Classify, ErrorClass};
use crate::thread::PAUSES;

/// Buckets in seconds, from a millisecond to a minute.
pub const SECONDS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0,
];

/// The registry of one part; clones share it.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    component: &'static str,
}

/// A metric that can't be made: its name is wrong or taken, a defect of the part.
#[derive(Debug, thiserror::Error)]
#[error("failed to register the metric {name}: {source}")]
pub struct MetricsError {
    name: String,
    source: prometheus::Error,
}

impl Classify for MetricsError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Fatal
    }
}

/// A server that a part depends on: a closed set of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// The API server.
    Api,
    /// The bus.
    Bus,
    /// Databases that migrations name, all together.
    Database,
}

impl Dependency {
    /// The word for metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Bus => "bus",
            Self::Database => "database",
        }
    }
}

/// Breakers and retry budgets of a part, as its metrics tell them.
#[derive(Clone, Debug)]
pub struct Guards {
    open: IntGaugeVec,
    retries: IntGaugeVec,
}

impl Guards {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            open: metrics.gauges(
                "breaker_open",
                "Breakers that are not closed, by what they stand before.",
                &["dependency"],
            )?,
            retries: metrics.gauges(
                "retries_left",
                "Retries that the budget still has, by what is tried again.",
                &["dependency"],
            )?,
        })
    }

    /// A breaker with its budget.
    pub fn tell(&self, of: Dependency, standing: Standing) {
        self.open_of(of, usize::from(standing.open));
        self.retries
            .with_label_values(&[of.label()])
            .set(i64::from(standing.retries));
    }

    /// So many breakers are not closed.
    pub fn open_of(&self, of: Dependency, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.open.with_label_values(&[of.label()]).set(count);
    }
}

impl Metrics {
    /// An empty registry for the metrics of `component` (`watcher`, `planner`, ...).
    #[must_use]
    pub fn new(component: &'static str) -> Self {
        let registry = Registry::new();
        // The registry is empty: no name is taken.
        if let Some(refused) = &*REFUSED {
            let _ = registry.register(Box::new(refused.clone()));
        }
        if let Some(pauses) = &*PAUSES {
            let _ = registry.register(Box::new(pauses.clone()));
        }
        Self {
            registry,
            component,
        }
    }

    /// `signalbox_<component>_<noun>_total`
    pub fn counter(&self, noun: &str, help: &str) -> Result<IntCounter, MetricsError> {
        let name = self.name(noun, "total");
        self.add(&name, IntCounter::new(name.as_str(), help))
    }

    /// `signalbox_<component>_<noun>_total` by closed sets of labels.
    pub fn counters(
        &self,
        noun: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, MetricsError> {
        let name = self.name(noun, "total");
        self.add(
            &name,
            IntCounterVec::new(Opts::new(name.as_str(), help), labels),
        )
    }

    /// `signalbox_<component>_<noun>`: a number of things.
    pub fn gauge(&self, noun: &str, help: &str) -> Result<IntGauge, MetricsError> {
        let name = self.name(noun, "");
        self.add(&name, IntGauge::new(name.as_str(), help))
    }

    /// `signalbox_<component>_<noun>` by closed sets of labels.
    pub fn gauges(
        &self,
        noun: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, MetricsError> {
        let name = self.name(noun, "");
        self.add(
            &name,
            IntGaugeVec::new(Opts::new(name.as_str(), help), labels),
        )
    }

    /// `signalbox_<component>_<noun>_<unit>`: a quantity.
    pub fn quantity(&self, noun: &str, unit: &str, help: &str) -> Result<Gauge, MetricsError> {
        let name = self.name(noun, unit);
        self.add(&name, Gauge::new(name.as_str(), help))
    }

    /// `signalbox_<component>_<noun>_seconds`, with the buckets [`SECONDS`].
    pub fn seconds(&self, noun: &str, help: &str) -> Result<Histogram, MetricsError> {
        let name = self.name(noun, "seconds");
        let options = HistogramOpts::new(name.as_str(), help).buckets(SECONDS.to_vec());
        self.add(&name, Histogram::with_opts(options))
    }

    /// `signalbox_<component>_<noun>_seconds` by closed sets of labels.
    pub fn seconds_by(
        &self,
        noun: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<HistogramVec, MetricsError> {
        let name = self.name(noun, "seconds");
        let options = HistogramOpts::new(name.as_str(), help).buckets(SECONDS.to_vec());
        self.add(&name, HistogramVec::new(options, labels))
    }

    /// All metrics as Prometheus reads them.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "failed to encode metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn name(&self, noun: &str, unit: &str) -> String {
        let separator = if unit.is_empty() { "" } else { "_" };
        format!("signalbox_{}_{noun}{separator}{unit}", self.component)
    }

    fn add<M: Collector + Clone + 'static>(
        &self,
        name: &str,
        metric: prometheus::Result<M>,
    ) -> Result<M, MetricsError> {
        metric
            .and_then(|metric| {
                self.registry
                    .register(Box::new(metric.clone()))
                    .map(|()| metric)
            })
            .map_err(|source| MetricsError {
                name: name.to_owned(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        let metrics = Metrics::new("watcher");
        metrics
            .counters("events", "Events published.", &["cause"])
            .unwrap()
            .with_label_values(&["spec"])
            .inc();
        metrics
            .seconds("flight", "Length of flights.")
            .unwrap()
            .observe(0.3);
        metrics.gauge("flights", "Flights now.").unwrap().set(7);
        let text = metrics.encode();
        assert!(
            text.contains("signalbox_watcher_events_total{cause=\"spec\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("signalbox_watcher_flight_seconds_count 1"),
            "{text}"
        );
        assert!(text.contains("signalbox_watcher_flights 7"), "{text}");
    }

    #[test]
    fn a_name_is_given_once() {
        let metrics = Metrics::new("planner");
        metrics.counter("plans", "Plans.").unwrap();
        let error = metrics.counter("plans", "Plans.").unwrap_err();
        assert!(
            error.to_string().contains("signalbox_planner_plans_total"),
            "{error}"
        );
    }
}
