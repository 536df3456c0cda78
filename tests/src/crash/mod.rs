//! Points: every effect and view of a fault-free run, and what comes of a fault there.
//!
//! Decides which points a flow has, how a run is made and compared with the fault-free one; how many points
//! are tried stands with the suites.

mod flow;
mod lane;
mod points;
mod record;
mod refusals;
mod run;
mod snapshot;
mod trial;
mod unlike;
mod views;

pub use flow::{ALL, Flow};
pub use lane::{Lane, own_bus};
pub use points::{Effects, Point, points, sample};
pub use refusals::refusals;
pub use run::{Reference, Verdict};
pub use trial::{Known, Trial, Verdicts, flows, number, report, world};
pub use views::{Views, views};
