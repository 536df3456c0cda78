//! How a new revision takes over: strategy, steps, deadline.
//!
//! Decides what may be asked for; the planner decides what a step means now.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a new revision takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.steps) || self.steps.size() < 2 || self.steps.map(s, s.weight).isSorted()")
    .message("spec.rollout.steps[].weight must not fall from one step to the next").field_path(".steps"))]
pub struct Rollout {
    /// `Canary`: the steps below. `Rolling`: quarters, each as soon as the last one is ready.
    #[serde(default)]
    pub strategy: Strategy,
    /// Steps of a canary; empty: one step of 20 % without a pause. Promotion follows the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub steps: Vec<RolloutStep>,
    /// Seconds without progress (a new pod ready) after which a revision has failed and is rolled back.
    #[serde(default = "six_hundred")]
    #[schemars(range(min = 1, max = 86400))]
    pub progress_deadline_seconds: i64,
    /// Seconds that the old revision's pods stay after promotion.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 3600))]
    pub drain_seconds: i64,
    /// Old revisions that are kept, without pods.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 20))]
    pub history_limit: i32,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            steps: Vec::new(),
            progress_deadline_seconds: six_hundred(),
            drain_seconds: thirty(),
            history_limit: two(),
        }
    }
}

/// How the steps are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// The steps that the spec names.
    #[default]
    Canary,
    /// 25, 50, 75, 100 %, without pauses.
    Rolling,
}

/// One step of a canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStep {
    /// Share of the pods that are of the new revision, in percent (rounded up to whole pods).
    #[schemars(range(min = 1, max = 100))]
    pub weight: i32,
    /// Seconds to stay at this weight once it is reached.
    #[serde(default)]
    #[schemars(range(min = 0, max = 604_800))]
    pub pause_seconds: i64,
}

const fn six_hundred() -> i64 {
    600
}
const fn thirty() -> i64 {
    30
}
const fn two() -> i32 {
    2
}
