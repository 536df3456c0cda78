//! The real code of watcher, planner and executor in one thread, on models of the API server and the bus.
//!
//! Time is virtual, chance comes from a seed, faults lie between the parts and the servers. Decides what
//! may go wrong and what must be true; never how the parts work.

pub mod api;
pub mod bus;
pub mod controllers;
pub mod database;
pub mod fleet;
pub mod mask;
pub mod net;
pub mod options;
pub mod oracle;
pub mod random;
pub mod run;
pub mod trigger;
pub mod user;

pub use options::Options;
pub use run::{Report, run, trace};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
