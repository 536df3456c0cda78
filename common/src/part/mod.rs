//! What a part has of its process: tasks of its own and fresh ids.
//!
//! Decides nothing. A part starts every task through here, so that a simulation can run many parts in
//! one process, and end, stop or shift the clock of each alone. Outside of one it is tokio and the
//! system, at no cost.

#[cfg(not(feature = "simulation"))]
mod real;
#[cfg(feature = "simulation")]
mod simulated;

#[cfg(not(feature = "simulation"))]
pub use real::{fresh_id, own, spawn};
#[cfg(feature = "simulation")]
pub use simulated::{Part, fresh_id, is_simulated, own, spawn};

#[cfg(feature = "simulation")]
pub(crate) use simulated::now;
