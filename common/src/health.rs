//! Health: named checks behind /healthz and /readyz, and metrics behind /metrics.
//!
//! /readyz says whether the part can do its work now. /healthz says whether it moves at all: only a beat
//! that missed its deadline makes it fail, for a restart heals a stalled loop, not a lost server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::class::{Classify, ErrorClass};
use crate::metrics::Metrics;
use crate::part;

/// The checks of a part; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

#[derive(Clone, Debug)]
struct State {
    /// Why the part can't work; none if it can.
    failure: Option<String>,
    /// What else there is to tell, in brackets behind the rest.
    note: String,
    /// The last beat and how long it holds.
    beat: Option<(Instant, Duration)>,
}

impl State {
    /// How long the last beat is overdue.
    fn stalled(&self, now: Instant) -> Option<Duration> {
        let (last, within) = self.beat?;
        now.saturating_duration_since(last)
            .checked_sub(within)
            .filter(|late| !late.is_zero())
    }
}

/// One named check. It fails until it is first told that all is well.
#[derive(Clone, Debug)]
pub struct Check {
    health: Health,
    name: &'static str,
}

impl Check {
    /// All is well; also a beat.
    pub fn ok(&self) {
        self.set(None);
    }

    /// The part can't work, and why; also a beat.
    pub fn fail(&self, why: impl Into<String>) {
        self.set(Some(why.into()));
    }

    /// What else /readyz tells behind the check, such as the state of a breaker; no judgement.
    pub fn note(&self, note: impl Into<String>) {
        if let Some(state) = self.health.lock().get_mut(self.name) {
            state.note = note.into();
        }
    }

    /// The loop behind this check moves; whether all is well stays as it was.
    pub fn beat(&self) {
        if let Some((last, _)) = self
            .health
            .lock()
            .get_mut(self.name)
            .and_then(|state| state.beat.as_mut())
        {
            *last = Instant::now();
        }
    }

    fn set(&self, failure: Option<String>) {
        if let Some(state) = self.health.lock().get_mut(self.name) {
            if state.failure != failure {
                if let Some(why) = &failure {
                    tracing::warn!(check = self.name, why, "check fails");
                } else {
                    tracing::info!(check = self.name, "check is well");
                }
            }
            state.failure = failure;
            if let Some((last, _)) = &mut state.beat {
                *last = Instant::now();
            }
        }
    }
}

impl Health {
    /// No checks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The check `name`, failing until told otherwise.
    #[must_use]
    pub fn check(&self, name: &'static str) -> Check {
        self.add(name, None)
    }

    /// A check whose loop promises a beat (or `ok`, or `fail`) at least every `within`.
    #[must_use]
    pub fn check_with_beat(&self, name: &'static str, within: Duration) -> Check {
        self.add(name, Some((Instant::now(), within)))
    }

    fn add(&self, name: &'static str, beat: Option<(Instant, Duration)>) -> Check {
        let new = State {
            failure: Some("not yet".to_owned()),
            note: String::new(),
            beat,
        };
        let mut checks = self.lock();
        let state = checks.entry(name).or_insert(new);
        if beat.is_some() {
            state.beat = beat;
        }
        Check {
            health: self.clone(),
            name,
        }
    }

    /// Whether all is well, and one line a check.
    #[must_use]
    pub fn readiness(&self) -> (bool, String) {
        self.report(Instant::now(), |state| state.failure.clone())
    }

    /// Whether every loop moves, and one line a check.
    #[must_use]
    pub fn liveness(&self) -> (bool, String) {
        self.report(Instant::now(), |_| None)
    }

    fn report(&self, now: Instant, failure: impl Fn(&State) -> Option<String>) -> (bool, String) {
        let mut text = String::new();
        let mut well = true;
        for (name, state) in self.lock().iter() {
            let stalled = state
                .stalled(now)
                .map(|late| format!("no beat, {late:.1?} overdue"));
            let failure = stalled.or_else(|| failure(state));
            well &= failure.is_none();
            let told = failure.as_deref().unwrap_or("ok");
            // Writing to a String can't fail.
            let _ = match state.note.as_str() {
                "" => writeln!(text, "{name}: {told}"),
                note => writeln!(text, "{name}: {told} ({note})"),
            };
        }
        (well, text)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        // A panic elsewhere does not make the checks wrong.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address can't be served.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {source}")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Classify for ServeError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Fatal
    }
}

/// Serves /healthz, /readyz and /metrics until `shutdown`, in a task of its own; returns the address.
pub async fn serve(
    address: SocketAddr,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> Result<SocketAddr, ServeError> {
    // Nobody asks there.
    #[cfg(feature = "simulation")]
    if part::is_simulated() {
        return Ok(address);
    }
    let failed = |source| ServeError { address, source };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "serving health and metrics");
    let (live, ready) = (health.clone(), health);
    let router = Router::new()
        .route("/healthz", get(async move || answer(live.liveness())))
        .route("/readyz", get(async move || answer(ready.readiness())))
        .route("/metrics", get(async move || metrics.encode()));
    part::spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "health server ended");
        }
    });
    Ok(bound)
}

fn answer((well, text): (bool, String)) -> (StatusCode, String) {
    (
        if well {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        },
        text,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn a_check_fails_until_it_is_well() {
        let health = Health::new();
        let bus = health.check("bus");
        assert_eq!(health.readiness(), (false, "bus: not yet\n".to_owned()));
        assert!(health.liveness().0, "a part that is not ready is alive");
        bus.ok();
        assert_eq!(health.readiness(), (true, "bus: ok\n".to_owned()));
        bus.fail("no leader");
        assert_eq!(health.readiness(), (false, "bus: no leader\n".to_owned()));
        bus.note("breaker open");
        let told = "bus: no leader (breaker open)\n";
        assert_eq!(health.readiness(), (false, told.to_owned()));
        bus.ok();
        let told = "bus: ok (breaker open)\n";
        assert_eq!(health.readiness(), (true, told.to_owned()), "no judgement");
    }

    #[test]
    fn a_silent_stall_shows() {
        let health = Health::new();
        let check = health.check_with_beat("loop", Duration::ZERO);
        check.ok();
        while health.liveness().0 {}
        assert!(
            health.readiness().1.contains("overdue"),
            "{:?}",
            health.readiness()
        );
        let _ = health.check_with_beat("loop", Duration::from_hours(1));
        check.beat();
        assert!(health.liveness().0 && health.readiness().0);
    }

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn the_server_answers() {
        let (health, metrics) = (Health::new(), Metrics::new("test"));
        metrics.counter("things", "Things.").unwrap().inc();
        let check = health.check("bus");
        let end = CancellationToken::new();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let address = serve(any, health, metrics, end.clone()).await.unwrap();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        check.ok();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(
            fetch(address, "/metrics")
                .await
                .contains("signalbox_test_things_total 1")
        );
        end.cancel();
    }
}
