//! The main job on real servers: create, update, canary, bad image, scale, configuration, pause, drift, deletion.
//!
//! Each test has a namespace of its own in one shared world.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

mod deletion;
mod drift;
mod owned;
mod rollout;
mod scaling;

use std::sync::Arc;
use std::time::Duration;

use signalbox_tests::shared::Shared;
use signalbox_tests::{Slot, WorldOptions};

const SOON: Duration = Duration::from_secs(30);

/// One world for all tests.
async fn shared() -> Arc<Shared> {
    static SLOT: Slot = Slot::new();
    SLOT.world("main-job", WorldOptions::PODS).await
}
