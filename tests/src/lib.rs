//! The harness: real servers, the parts as processes of their own with their own identities, and the means to watch both.
//!
//! Decides how a test world is built and observed; never what is right: that stands in the suites.

#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a harness that can't do its work ends the test"
)]

pub mod audit;
pub mod bus;
mod bus_access;
pub mod crash;
pub mod figures;
pub mod fixtures;
pub mod fleet;
pub mod objects;
pub mod parts;
pub mod process_stat;
pub mod proxied;
pub mod shared;
pub mod signing;
pub mod silence;
pub mod wait;
pub mod world;

pub use objects::Objects;
pub use parts::{Part, PartProcess};
pub use shared::Slot;
pub use wait::eventually;
pub use world::{World, WorldOptions};
