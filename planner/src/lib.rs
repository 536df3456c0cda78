//! The planner: a pure function from an Observation to a Plan, and the service around it.
//!
//! [`plan`] knows no clock, no randomness, no IO and no credentials: what it may know is in the
//! Observation, and the same Observation gives the same bytes. The feature `service` adds the part that
//! takes Events from the bus; without it this crate builds without tokio, a bus or a client.

mod app;
mod draft;
mod failure;
mod fence;
mod migration;
mod plan;
mod rest;
mod stalled;
mod status;
pub mod variant;

#[cfg(feature = "service")]
pub mod service;

pub use plan::{plan, version};
