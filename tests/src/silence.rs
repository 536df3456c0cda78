//! Silence: a stretch of time in which nothing is written and nothing is sent.
//!
//! Behind the last effect comes one more look at the object; a suite that counts from the moment when no
//! flight is open would count that look.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::wait::eventually;
use crate::world::World;

/// Waits until for `quiet` nothing was written and nothing was sent; panics after `limit`. Returns how
/// many writes came before.
///
/// # Panics
/// If it does not fall silent in time.
pub async fn falls_silent(world: &World, after: &str, quiet: Duration, limit: Duration) -> usize {
    let (bus, audit) = (world.bus().await, world.audit());
    let begun = audit.mark();
    let last = Cell::new(((0, 0), Instant::now()));
    eventually(&format!("silence after {after}"), limit, || async {
        let writes = audit.writes_since(begun);
        let now = (writes.len(), bus.work_messages().await);
        let (before, since) = last.get();
        if now != before {
            last.set((now, Instant::now()));
        } else if since.elapsed() >= quiet {
            return Ok(());
        }
        Err(format!("{} writes: {:?}", writes.len(), writes.last()))
    })
    .await;
    last.get().0.0
}
