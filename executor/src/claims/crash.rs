//! Places where a test may end the process, as a power cut would.
//!
//! Compiled in only with the feature `crash-points`; without it a place costs nothing.

#[cfg(feature = "crash-points")]
use signalbox_common::wire::Action;
use signalbox_common::wire::plan::PlannedAction;

/// A place in the life of a long step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// The step's Lease is made, the claim is not.
    Lease,
    /// The claim is written, the effect has not begun.
    Claim,
    /// All is done but COMMIT.
    BeforeCommit,
    /// COMMIT is answered, the result is not written.
    AfterCommit,
}

/// Ends the process if `SIGNALBOX_CRASH_AT` names this place (`lease`, `claim`, `commit-before`,
/// `commit-after`).
#[cfg(feature = "crash-points")]
pub(crate) fn at(point: Point) {
    let name = match point {
        Point::Lease => "lease",
        Point::Claim => "claim",
        Point::BeforeCommit => "commit-before",
        Point::AfterCommit => "commit-after",
    };
    if std::env::var("SIGNALBOX_CRASH_AT").is_ok_and(|wanted| wanted == name) {
        tracing::warn!(name, "ending the process at a crash point");
        std::process::abort();
    }
}

/// Ends the process if `SIGNALBOX_CRASH_AT` is `plan:<text>` and an action of the plan, its status apart,
/// holds the text: a plan that no executor survives.
#[cfg(feature = "crash-points")]
pub(crate) fn at_plan(actions: &[PlannedAction]) {
    let Ok(wanted) = std::env::var("SIGNALBOX_CRASH_AT") else {
        return;
    };
    let Some(text) = wanted.strip_prefix("plan:") else {
        return;
    };
    let deadly = |planned: &PlannedAction| {
        !matches!(planned.action, Action::PatchStatus(_))
            && serde_json::to_string(planned).is_ok_and(|json| json.contains(text))
    };
    if actions.iter().any(deadly) {
        tracing::warn!(text, "ending the process on a plan");
        std::process::abort();
    }
}

/// Nothing: built without crash points.
#[cfg(not(feature = "crash-points"))]
pub(crate) const fn at_plan(_actions: &[PlannedAction]) {}

/// Nothing: built without crash points.
#[cfg(not(feature = "crash-points"))]
pub(crate) const fn at(point: Point) {
    match point {
        Point::Lease | Point::Claim | Point::BeforeCommit | Point::AfterCommit => {}
    }
}
