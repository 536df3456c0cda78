//! What the parts share: wire types, subjects, the bus, error classes, backoff, telemetry.
//!
//! Without the feature `runtime` this crate is data and pure functions only: the planner's library
//! rests on that. Nothing here knows what a kind means.

pub mod backoff;
pub mod class;
pub mod digest;
pub mod id;
pub mod json;
pub mod kinds;
pub mod panic;
pub mod rights;
pub mod subject;
pub mod wire;

#[cfg(feature = "runtime")]
pub mod breaker;
#[cfg(feature = "runtime")]
pub mod bus;
#[cfg(feature = "runtime")]
pub mod clock;
#[cfg(feature = "runtime")]
pub mod config;
#[cfg(feature = "runtime")]
mod gathering;
#[cfg(feature = "runtime")]
pub mod health;
#[cfg(feature = "runtime")]
pub mod kube_client;
#[cfg(feature = "runtime")]
pub mod metrics;
#[cfg(feature = "runtime")]
pub mod part;
#[cfg(feature = "runtime")]
pub mod process;
#[cfg(feature = "runtime")]
pub mod record;
#[cfg(feature = "runtime")]
pub mod scheduling;
#[cfg(feature = "runtime")]
pub mod shutdown;
#[cfg(feature = "runtime")]
pub mod telemetry;
#[cfg(feature = "runtime")]
mod thread;
