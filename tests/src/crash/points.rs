//! The points of a flow: every effect that two fault-free runs both made, at each place.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use signalbox_proxy::{Fault, Place, Plan};

use super::flow::Flow;
use crate::parts::Part;

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The flow.
    pub flow: Flow,
    /// Who dies.
    pub part: Part,
    /// At which step.
    pub step: String,
    /// The how manieth of the same.
    pub occurrence: u32,
    /// Where.
    pub place: Place,
}

impl Point {
    /// What the proxy of the part does.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::once(&self.step, self.occurrence, Fault::Kill(self.place))
    }

    /// As a file, to be replayed.
    #[must_use]
    pub fn file(&self) -> Value {
        json!({
            "flow": self.flow.word(),
            "part": self.part.name(),
            "plan": self.plan(),
        })
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{}: {} dies {:?} of `{}` #{}",
            self.flow.word(),
            self.part.name(),
            self.place,
            self.step,
            self.occurrence
        )
    }
}

/// How often each part made each effect.
pub type Effects = BTreeMap<(Part, String), u32>;

/// All points of a flow; what only one of the runs did is a matter of time, and no point.
#[must_use]
pub fn points(flow: Flow, runs: &[Effects]) -> Vec<Point> {
    let Some((first, others)) = runs.split_first() else {
        return Vec::new();
    };
    let mut points = Vec::new();
    for ((part, step), count) in first {
        let least = others
            .iter()
            .map(|run| run.get(&(*part, step.clone())).copied().unwrap_or(0))
            .chain([*count])
            .min();
        for occurrence in 1..=least.unwrap_or(0) {
            for place in Place::ALL {
                points.push(Point {
                    flow,
                    part: *part,
                    step: step.clone(),
                    occurrence,
                    place,
                });
            }
        }
    }
    points
}
