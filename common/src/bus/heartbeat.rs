//! Keeping a delivery: in-progress acks in a task of their own, and knowing when it is lost.
//!
//! Never acknowledges for good. A holder asks [`Hold::is_lost`] before each request: when the delivery
//! could not be extended for [`LOST_AFTER`], another holder may have it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Acker;
use super::limits::{IN_PROGRESS_EVERY, LOST_AFTER};
use crate::part;

/// A delivery that is being extended until this is dropped.
pub struct Hold {
    pulse: Arc<Pulse>,
    stop: CancellationToken,
    lost: CancellationToken,
}

struct Pulse {
    begun: Instant,
    /// Milliseconds after `begun` of the last beat that the bus confirmed, counted from its sending.
    last: AtomicU64,
    lost_after: Duration,
}

impl Pulse {
    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Also right after the whole process stood still.
    fn is_late(&self) -> bool {
        let silence = self
            .elapsed()
            .saturating_sub(self.last.load(Ordering::Acquire));
        u128::from(silence) >= self.lost_after.as_millis()
    }
}

impl Hold {
    /// Whether another holder may have the delivery by now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled() || self.pulse.is_late()
    }

    /// Cancelled when the delivery is lost; not cancelled by a drop.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Extends a delivery every second; lost after 3 seconds without a confirmation.
#[must_use]
pub fn hold(acker: Arc<dyn Acker>) -> Hold {
    hold_with(acker, IN_PROGRESS_EVERY, LOST_AFTER)
}

/// The same with other times.
#[must_use]
pub fn hold_with(acker: Arc<dyn Acker>, every: Duration, lost_after: Duration) -> Hold {
    let pulse = Arc::new(Pulse {
        begun: Instant::now(),
        last: AtomicU64::new(0),
        lost_after,
    });
    let hold = Hold {
        pulse: pulse.clone(),
        stop: CancellationToken::new(),
        lost: CancellationToken::new(),
    };
    let (stop, lost) = (hold.stop.clone(), hold.lost.clone());
    part::spawn(async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = beat(acker, every, &pulse) => lost.cancel(),
        }
    });
    hold
}

/// Returns when the delivery is lost.
async fn beat(acker: Arc<dyn Acker>, every: Duration, pulse: &Pulse) {
    while !pulse.is_late() {
        tokio::time::sleep(every).await;
        let sent = pulse.elapsed();
        // A beat without an answer must not delay the next one beyond the limit.
        if let Ok(Ok(())) = tokio::time::timeout(every, acker.in_progress()).await
            && !pulse.is_late()
        {
            pulse.last.store(sent, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::BusError;
    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use std::sync::atomic::AtomicBool;
    use tokio::sync::Notify;

    #[derive(Default)]
    struct Fake {
        dead: AtomicBool,
        beats: AtomicU64,
        beaten: Notify,
    }

    impl Acker for Fake {
        fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
            std::future::ready(Ok(())).boxed()
        }
        fn nak(&self) -> BoxFuture<'_, Result<(), BusError>> {
            std::future::ready(Ok(())).boxed()
        }
        fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
            if self.dead.load(Ordering::SeqCst) {
                return std::future::pending().boxed();
            }
            self.beats.fetch_add(1, Ordering::SeqCst);
            self.beaten.notify_one();
            std::future::ready(Ok(())).boxed()
        }
    }

    #[tokio::test]
    async fn a_held_delivery_is_extended_and_a_silent_bus_is_noticed() {
        let fake = Arc::new(Fake::default());
        let hold = hold_with(
            fake.clone(),
            Duration::from_millis(20),
            Duration::from_millis(400),
        );
        while fake.beats.load(Ordering::SeqCst) < 30 {
            fake.beaten.notified().await;
        }
        assert!(!hold.is_lost(), "600 ms of beats");
        fake.dead.store(true, Ordering::SeqCst);
        hold.lost().cancelled().await;
        assert!(hold.is_lost());
    }

    /// One thread runs everything: a part that stands still does not extend what it holds, and knows it afterwards.
    #[tokio::test]
    async fn a_part_that_stood_still_has_lost_what_it_held() {
        let fake = Arc::new(Fake::default());
        let hold = hold_with(
            fake.clone(),
            Duration::from_millis(10),
            Duration::from_millis(200),
        );
        fake.beaten.notified().await;
        std::thread::sleep(Duration::from_millis(300));
        assert!(hold.is_lost(), "before any other task has run");
        hold.lost().cancelled().await;
    }
}
