//! The executor: applies plans, and is the only part that writes.
//!
//! Competing pull consumers of PLANS: each runs a plan's actions in their order of dependency, every
//! one a compare-and-set, and reports one Outcome. Decides nothing about what should be; never waits
//! in a plan.

mod ambiguous;
mod api;
mod apply;
mod claims;
mod conflict;
mod context;
mod error;
mod guards;
mod limits;
mod metrics;
mod references;
mod run;
pub mod sql;
mod stop;
mod worker;

pub use run::{Args, RunError, run, run_with};
