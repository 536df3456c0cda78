//! What the parts share: wire types, subjects, the bus, error classes, backoff, telemetry.
//!
//! Without the feature `runtime` this crate is data and pure functions only: the planner's library
//! rests on that. Nothing here knows what a kind means.

pub mod backoff;
pub mod class;
pub mod digest;
pub mod id;
pub mod kinds;
pub mod subject;
pub mod wire;

#[cfg(feature = "runtime")]
pub mod bus;
