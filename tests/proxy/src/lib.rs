//! A proxy before the API server, the bus and the database of one part, which makes faults by plan.
//!
//! Decides how each fault looks to the part and to the server; never which fault is made when: that
//! stands in a [`Plan`]. Each part has a [`Proxy`] of its own and keeps its own identity through it.
//! Without a plan it only writes down what the part does, in order: the [`trace`].

mod api;
mod bus;
mod director;
mod fault;
mod mask;
mod plan;
mod proxy;
mod sql;
pub mod trace;
mod valve;
mod views;

pub use director::{Director, Spoken};
pub use fault::{Fault, Loss, Past, Place, Rejection, Return};
pub use mask::Masks;
pub use plan::{Occurrence, Plan, Rule};
pub use proxy::{Proxy, Servers};
pub use valve::{Direction, Protocol};
