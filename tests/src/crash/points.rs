//! Points: a flow, a step of a part in it, and the fault that is made there.
//!
//! Crash points are every effect that two fault-free runs both made, at each place; what else there is
//! stands in [`super::views`] and [`super::refusals`].

use std::collections::BTreeMap;

use serde_json::{Value, json};
use signalbox_proxy::{Fault, Occurrence, Past, Place, Plan, Return};

use super::flow::Flow;
use crate::parts::Part;

/// One point.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The flow.
    pub flow: Flow,
    /// Whose step it is.
    pub part: Part,
    /// The step.
    pub step: String,
    /// The how manieth of the same.
    pub occurrence: u32,
    /// What is done there.
    pub fault: Fault,
}

impl Point {
    /// What the proxy of the part does.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan::once(&self.step, self.occurrence, self.fault.clone())
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

    /// Reads a file that [`Self::file`] wrote.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let file: Value = serde_json::from_str(text).ok()?;
        let plan: Plan = serde_json::from_value(file["plan"].clone()).ok()?;
        let rule = plan.rules.into_iter().next()?;
        let Occurrence::Nth(occurrence) = rule.occurrence else {
            return None;
        };
        let parts = [Part::Watcher, Part::Planner, Part::Executor];
        Some(Self {
            flow: Flow::parse(file["flow"].as_str()?)?,
            part: parts.into_iter().find(|part| file["part"] == part.name())?,
            step: rule.step,
            occurrence,
            fault: rule.fault,
        })
    }

    /// Whether the answer says that trying again is in vain until something changes.
    pub(super) fn is_for_good(&self) -> bool {
        // Refused SQL alone: an effect that nobody asked for twice.
        matches!(&self.fault, Fault::Raise(state) if state == "42501")
    }

    /// Whether what a line of the end tells of has to be alike.
    pub(super) fn compares(&self, line: &str) -> bool {
        // What is not seen may be made again, or never.
        let is_hidden = matches!(self.fault, Fault::Hold { .. });
        let is_told = matches!(
            self.fault,
            Fault::Refuse { .. } | Fault::Reject(_) | Fault::Raise(_)
        );
        !(is_hidden && line.starts_with("count ")
            || is_told && line.starts_with("count created event "))
    }

    /// In one line.
    #[must_use]
    pub fn line(&self) -> String {
        let what = match &self.fault {
            Fault::Kill(place) => format!("dies {place:?} of"),
            Fault::Hold { until, nth, .. } => {
                format!("sees `{until}` #{nth} first, never before it")
            }
            Fault::Past(Past { until, nth, by, .. }) => {
                let how = match by {
                    Return::Restart => "restarted",
                    Return::Cut => "cut",
                };
                format!("{how} at `{until}` #{nth}, sees the past of")
            }
            other @ (Fault::Lose(_)
            | Fault::Refuse { .. }
            | Fault::Delay { .. }
            | Fault::Drop
            | Fault::Duplicate
            | Fault::Cut
            | Fault::Pause
            | Fault::Reject(_)
            | Fault::Raise(_)
            | Fault::Gone) => format!("has {other:?} for"),
        };
        let Self {
            flow,
            part,
            step,
            occurrence,
            ..
        } = self;
        let (flow, part) = (flow.word(), part.name());
        format!("{flow}: {part} {what} `{step}` #{occurrence}")
    }
}

/// How often each part made each effect.
pub type Effects = BTreeMap<(Part, String), u32>;

/// The crash points of a flow.
#[must_use]
pub fn points(flow: Flow, runs: &[Effects]) -> Vec<Point> {
    at_effects(flow, runs, |_| Place::ALL.map(Fault::Kill).to_vec())
}

/// These faults at every effect; what only one of the runs did is a matter of time, and no point.
#[must_use]
pub(super) fn at_effects(
    flow: Flow,
    runs: &[Effects],
    faults: impl Fn(&str) -> Vec<Fault>,
) -> Vec<Point> {
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
            points.extend(faults(step).into_iter().map(|fault| Point {
                flow,
                part: *part,
                step: step.clone(),
                occurrence,
                fault,
            }));
        }
    }
    points
}

/// `count` points, the same for the same seed, of each flow in turn.
#[must_use]
pub fn sample(flows: &[Vec<Point>], count: usize, seed: usize) -> Vec<Point> {
    let mut left: Vec<Vec<Point>> = flows.to_vec();
    let mut chosen = Vec::new();
    // The constants of Knuth's generator.
    let mut draw = (seed as u64).wrapping_mul(6_364_136_223_846_793_005);
    while chosen.len() < count && left.iter().any(|points| !points.is_empty()) {
        for points in left.iter_mut().filter(|points| !points.is_empty()) {
            draw = draw
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let index = usize::try_from(draw >> 33).unwrap_or(0) % points.len();
            chosen.push(points.swap_remove(index));
        }
    }
    chosen.truncate(count);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Point> {
        let of = |step: &str, count| ((Part::Executor, step.to_owned()), count);
        let runs = [
            Effects::from([of("a", 2), of("b", 1)]),
            Effects::from([of("a", 3)]),
        ];
        points(Flow::Create, &runs)
    }

    #[test]
    fn a_point_is_what_both_runs_did() {
        let all = all();
        assert_eq!(all.len(), 6);
        assert!(
            all.iter()
                .all(|point| point.step == "a" && point.occurrence <= 2)
        );
    }

    #[test]
    fn a_point_is_a_file() {
        for point in all() {
            assert_eq!(Point::read(&point.file().to_string()), Some(point));
        }
    }

    #[test]
    fn a_seed_chooses_the_same_points() {
        let flows = [all()];
        assert_eq!(sample(&flows, 4, 7), sample(&flows, 4, 7));
        assert_eq!(sample(&flows, 99, 7).len(), 6);
        assert!((0..9).any(|seed| sample(&flows, 4, seed) != sample(&flows, 4, 9)));
    }
}
