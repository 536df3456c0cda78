//! What is promised: a row for each figure, and what it has to be.

use crate::{Figure, brief};

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it says, for people.
    pub name: &'static str,
    /// Name of the figure.
    pub figure: &'static str,
    /// What it has to be.
    pub target: Target,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// It is only told.
    Told,
}

/// What comes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The target is met.
    Ok,
    /// It is not.
    Short,
    /// Nothing was measured.
    Unmeasured,
}

const fn row(name: &'static str, figure: &'static str, target: Target) -> Row {
    Row {
        name,
        figure,
        target,
    }
}

use Target::{AtLeast, AtMost, Told};

/// All rows.
pub const ROWS: &[Row] = &[
    row("crash points on real servers, tried", "crash-points", Told),
    row(
        "crash points on real servers that converge",
        "crash-points-converged",
        AtLeast(100.0),
    ),
    row(
        "effects made twice at crash points",
        "crash-points-twice",
        AtMost(0.0),
    ),
    row("unobserved and stale states, tried", "views", Told),
    row(
        "unobserved and stale states that converge",
        "views-converged",
        AtLeast(100.0),
    ),
    row("refusals and lost answers, tried", "refusals", Told),
    row(
        "refusals and lost answers that converge",
        "refusals-converged",
        AtLeast(100.0),
    ),
    row("seeds of the simulation", "seeds", AtLeast(10_000.0)),
    row("seeds with a broken invariant", "seeds-broken", AtMost(0.0)),
    row(
        "bus lost, rolled back or wiped: every app at its newest",
        "bus-loss-settled",
        AtMost(30.0),
    ),
    row(
        "storm of API faults: requests per needed one",
        "api-storm-requests-per-needed",
        AtMost(2.0),
    ),
    row(
        "storm of API faults: requests before `Retry-After` ended",
        "api-storm-before-retry-after",
        AtMost(0.0),
    ),
    row(
        "watcher killed: a change is served, p95",
        "failover-watcher-killed-p95",
        AtMost(5.0),
    ),
    row(
        "leader paused: a change is served, p95",
        "failover-leader-paused-p95",
        AtMost(5.0),
    ),
    row(
        "executor killed: plans resume, p95",
        "failover-executor-killed-p95",
        AtMost(5.0),
    ),
    row(
        "executor killed: long work resumes, p95",
        "failover-long-work-p95",
        AtMost(10.0),
    ),
    row(
        "late writes of a stopped executor, tried",
        "late-writes",
        Told,
    ),
    row(
        "late writes that change an existing object",
        "late-writes-that-change",
        AtMost(0.0),
    ),
    row(
        "drift of every owned field restored, p95",
        "drift-restored-p95",
        AtMost(5.0),
    ),
    row(
        "bus away with 1,000 changes: memory of the watcher",
        "bus-away-memory-watcher",
        AtMost(20.0),
    ),
    row(
        "bus away with 1,000 changes: memory of the planner",
        "bus-away-memory-planner",
        AtMost(20.0),
    ),
    row(
        "bus away with 1,000 changes: memory of the executor",
        "bus-away-memory-executor",
        AtMost(20.0),
    ),
];

impl Row {
    /// Judges the figure.
    #[must_use]
    pub fn verdict(&self, figure: Option<&Figure>) -> Verdict {
        let Some(figure) = figure else {
            return Verdict::Unmeasured;
        };
        let holds = match self.target {
            AtMost(most) => figure.value <= most,
            AtLeast(least) => figure.value >= least,
            Told => true,
        };
        if holds { Verdict::Ok } else { Verdict::Short }
    }

    /// The line of the table.
    #[must_use]
    pub fn line(&self, figure: Option<&Figure>, verdict: Verdict) -> String {
        let unit = figure.map_or("", |figure| figure.unit.as_str());
        let value = figure.map_or("–".to_owned(), |figure| {
            format!("{} {}", brief(figure.value), figure.unit)
        });
        let target = match self.target {
            AtMost(most) => format!("≤ {} {unit}", brief(most)),
            AtLeast(least) => format!("≥ {} {unit}", brief(least)),
            Told => String::new(),
        };
        let word = match (verdict, self.target) {
            (Verdict::Ok, Told) => "",
            (Verdict::Ok, AtMost(_) | AtLeast(_)) => "ok",
            (Verdict::Short, _) => "short",
            (Verdict::Unmeasured, _) => "not measured",
        };
        format!("| {} | {value} | {} | {word} |", self.name, target.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64) -> Figure {
        Figure {
            name: "x".to_owned(),
            value,
            unit: "s".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_target_is_met_or_not() {
        let row = row("drift", "x", AtMost(5.0));
        assert_eq!(row.verdict(Some(&figure(5.0))), Verdict::Ok);
        assert_eq!(row.verdict(Some(&figure(5.01))), Verdict::Short);
        assert_eq!(row.verdict(None), Verdict::Unmeasured);
        let line = row.line(Some(&figure(5.01)), Verdict::Short);
        assert_eq!(line, "| drift | 5.01 s | ≤ 5 s | short |");
    }

    #[test]
    fn every_figure_has_one_row() {
        let mut names: Vec<_> = ROWS.iter().map(|row| row.figure).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
    }
}
