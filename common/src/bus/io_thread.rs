//! The thread on which the connection to the bus and the in-progress acks live.
//!
//! Work that keeps the other threads busy can't keep a delivery from being extended. Never runs
//! anything but the bus.

use std::io;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle};

static THREAD: OnceLock<Handle> = OnceLock::new();

/// Runs a task there; in a simulation, which has one thread, as any other task of the part.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    #[cfg(feature = "simulation")]
    if crate::part::is_simulated() {
        crate::part::spawn(task);
        return Ok(());
    }
    handle()?.spawn(task);
    Ok(())
}

/// The runtime of the thread; started at the first call, it lives as long as the process.
pub(super) fn handle() -> io::Result<Handle> {
    if let Some(handle) = THREAD.get() {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    // A second caller at the same time makes a second thread, which serves whoever holds its handle.
    std::thread::Builder::new()
        .name("bus".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(THREAD.get_or_init(|| handle).clone())
}
