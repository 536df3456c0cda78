//! Waiting for conditions, the only kind of waiting that suites do.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

/// Asks `probe` until it gives a value; panics with `what` and the last refusal after `limit`.
///
/// The short rest between two questions is the granularity of asking, never a guess of how long something takes.
pub async fn eventually<T, E, F, Fut>(what: &str, limit: Duration, mut probe: F) -> T
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(refusal) if started.elapsed() > limit => {
                panic!("not within {limit:?}: {what}\n{refusal}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Checks `probe` all through `time`; panics at the first refusal.
pub async fn throughout<E, F, Fut>(what: &str, time: Duration, mut probe: F)
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let started = Instant::now();
    while started.elapsed() < time {
        if let Err(refusal) = probe().await {
            panic!("{what}: after {:?}: {refusal}", started.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
