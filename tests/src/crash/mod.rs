//! Crash points: every effect of a fault-free run, and what comes of a part's death there.
//!
//! Decides how a run is made and compared with the fault-free one; which flows there are and how many
//! points are tried stands with the suite.

mod flow;
mod lane;
mod points;
mod record;
mod run;
mod snapshot;
mod unlike;

pub use flow::{ALL, Flow};
pub use lane::Lane;
pub use points::{Effects, Point, points, sample};
pub use run::{Reference, Verdict};
