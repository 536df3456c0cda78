//! What the executor counts. Labels are closed sets.

use signalbox_common::class::ErrorClass;
use signalbox_common::metrics::{Guards, Metrics, MetricsError};
use signalbox_common::wire::outcome::ActionResult;

use crate::error::ActionError;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};

/// The metrics of an executor; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorMetrics {
    plans: IntCounterVec,
    plans_running: IntGauge,
    actions: IntCounterVec,
    action_seconds: HistogramVec,
    requests: IntCounterVec,
    in_flight: IntGauge,
    guards: Guards,
    records_lost: IntCounter,
    panics: IntCounter,
}

impl ExecutorMetrics {
    /// Registers them.
    pub(crate) fn new(metrics: &Metrics) -> Result<Self, MetricsError> {
        Ok(Self {
            plans: metrics.counters("plans", "Plans by what came of them.", &["result"])?,
            plans_running: metrics.gauge("plans_running", "Plans under way.")?,
            actions: metrics.counters(
                "actions",
                "Actions by kind and what came of them.",
                &["action", "result"],
            )?,
            action_seconds: metrics.seconds_by(
                "action",
                "Time of an action, with its guards and further tries.",
                &["action"],
            )?,
            requests: metrics.counters(
                "requests",
                "Requests to the API server by verb and class of the answer.",
                &["verb", "result"],
            )?,
            in_flight: metrics.gauge(
                "requests_in_flight",
                "Requests to the API server under way.",
            )?,
            guards: Guards::new(metrics)?,
            records_lost: metrics.counter(
                "records_lost",
                "Outcomes that could not be recorded in LEDGER.",
            )?,
            panics: metrics.counter("panics", "Actions and plans that ended in a panic.")?,
        })
    }

    pub(crate) fn plan_begun(&self) {
        self.plans_running.inc();
    }

    pub(crate) fn plan_ended(&self) {
        self.plans_running.dec();
    }

    pub(crate) fn plan(&self, result: &str) {
        self.plans.with_label_values(&[result]).inc();
    }

    pub(crate) fn action(&self, action: &str, result: ActionResult, seconds: f64) {
        self.actions
            .with_label_values(&[action, result_label(result)])
            .inc();
        self.action_seconds
            .with_label_values(&[action])
            .observe(seconds);
    }

    pub(crate) fn request(&self, verb: &str, err: Option<&ActionError>) {
        // Reads of absent objects are usual.
        let absent = |err: &ActionError| err.class == ErrorClass::Missing && err.code == Some(404);
        let result = err.map_or("ok", |err| {
            if absent(err) {
                "absent"
            } else {
                err.class.label()
            }
        });
        self.requests.with_label_values(&[verb, result]).inc();
    }

    /// Counts a request under way until it is dropped.
    pub(crate) fn request_in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Breakers and retry budgets.
    pub(crate) const fn guards(&self) -> &Guards {
        &self.guards
    }

    pub(crate) fn record_lost(&self) {
        self.records_lost.inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }
}

/// The word for metrics and logs.
pub(crate) const fn result_label(result: ActionResult) -> &'static str {
    match result {
        ActionResult::Done => "done",
        ActionResult::FoundDone => "foundDone",
        ActionResult::Running => "running",
        ActionResult::Failed => "failed",
        ActionResult::Skipped => "skipped",
    }
}

/// A request under way.
pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
