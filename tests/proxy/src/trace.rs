//! The trace: what a part did, in order, in words that are the same in every run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One step of a part: something that it asked of a server, or was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Number in the trace, from 1.
    pub number: u64,
    /// The step, with names masked: `api apply deployments $ns/$app-A`, `bus publish sb.plan.…`,
    /// `sql $db COMMIT`.
    pub step: String,
    /// The how manieth that reads so, from 1.
    pub occurrence: u32,
    /// Milliseconds since the run began.
    pub at: u64,
    /// Whether it changes what others see: a write, a publish, an ack, a statement.
    pub effect: bool,
    /// Whether it is about one of the masked names.
    pub own: bool,
    /// Of a watch event the paths of the fields that it changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// How often each effect on masked names was made.
#[must_use]
pub fn effects(trace: &[Entry]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for entry in trace.iter().filter(|entry| entry.effect && entry.own) {
        *counts.entry(entry.step.clone()).or_default() += 1;
    }
    counts
}

/// One JSON object a line.
#[must_use]
pub fn lines(trace: &[Entry]) -> String {
    let mut text = String::new();
    for entry in trace {
        text.push_str(&serde_json::to_string(entry).unwrap_or_default());
        text.push('\n');
    }
    text
}
