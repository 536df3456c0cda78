//! Kills, takeovers, restarts, a bus that goes away, rights that go away.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

mod kills;
mod planned;
mod restart;
mod rights;
mod rollouts;

use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(2);
