//! Turns changes of custom resources into Events on the bus.
//!
//! Decides when an object is looked at, never what is done about it: it trims, hashes and sends. Writes
//! nothing but its Lease. The heart is [`queue`], which is pure; [`run`] joins it with servers.

mod brain;
pub mod cache;
mod compare;
mod flights;
mod intake;
mod lease;
mod meters;
mod observe;
mod outcomes;
pub mod queue;
mod run;
mod sources;
mod triggers;
pub mod watch;

pub use run::{Args, RunError, run, run_with};
