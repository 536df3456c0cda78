//! What the snapshots of plans keep: what a plan decides, not which planner it was.

#![expect(unreachable_pub, reason = "shared by tests")]

use serde::Serialize;
use signalbox_common::wire::plan::Rest;
use signalbox_common::wire::{Plan, Verdict};

/// What a plan decides.
#[derive(Serialize)]
pub struct Decided {
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Rest>,
}

impl Decided {
    pub fn of(plan: Plan) -> Self {
        Self {
            verdict: plan.verdict,
            rest: plan.rest,
        }
    }
}
