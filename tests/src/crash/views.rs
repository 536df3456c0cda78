//! Points of what the watcher sees, derived from a trace as Sieve does: states that it never sees, and
//! states that it sees again after it has seen what came later.
//!
//! A state is a watch event whose fields a later event of the same object changes again. It counts only if
//! the executor wrote something between the two: else nobody acted on it.

use signalbox_proxy::trace::Entry;
use signalbox_proxy::{Fault, Past, Return};

use super::flow::Flow;
use super::points::Point;
use super::run::Reference;
use crate::parts::Part;

/// A state is hidden no longer than this: what it was hidden until may never come without it.
const HIDDEN: u64 = 3_000;
/// How long the past is shown: longer than what was written is waited for.
const CUT: u64 = 3_000;
/// And longer than a Lease that nobody gave back is waited for.
const RESTARTED: u64 = 5_000;

/// What a trace gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// Watch events that change anything.
    pub events: usize,
    /// Of those the ones that a later one cancels.
    pub cancelled: usize,
    /// States that are never seen.
    pub unobserved: Vec<Point>,
    /// States that are seen again.
    pub stale: Vec<Point>,
}

/// The points of a flow; an event that only one of the runs had is none.
#[must_use]
pub fn views(flow: Flow, runs: &[Reference]) -> Views {
    let Some((first, others)) = runs.split_first() else {
        return Views::default();
    };
    let writes: Vec<u64> = first
        .trace_of(Part::Executor)
        .iter()
        .filter(|entry| entry.effect && entry.own && entry.step.starts_with("api "))
        .map(|entry| entry.at)
        .collect();
    let in_all = |entry: &Entry| {
        others.iter().all(|run| {
            let same = |other: &&Entry| other.step == entry.step;
            run.trace_of(Part::Watcher).iter().filter(same).count() >= times(entry)
        })
    };
    let told: Vec<&Entry> = first
        .trace_of(Part::Watcher)
        .iter()
        .filter(|entry| entry.own && !entry.changes.is_empty())
        .collect();
    let mut found = Views {
        events: told.len(),
        ..Views::default()
    };
    for (index, event) in told.iter().enumerate() {
        let later = || {
            let rest = told.iter().skip(index + 1);
            rest.filter(|other| object_of(other) == object_of(event))
        };
        let Some(cancelling) = later().find(|other| cancels(other, event)) else {
            continue;
        };
        found.cancelled += 1;
        let acted_on = |until: &Entry| writes.iter().any(|at| (event.at..=until.at).contains(at));
        if !in_all(event) {
            continue;
        }
        let point = |fault| Point {
            flow,
            part: Part::Watcher,
            step: event.step.clone(),
            occurrence: event.occurrence,
            fault,
        };
        let back = |until: &Entry, by, ms| {
            point(Fault::Past(Past {
                until: until.step.clone(),
                nth: until.occurrence,
                by,
                ms,
            }))
        };
        if in_all(cancelling) && acted_on(cancelling) {
            found.unobserved.push(point(Fault::Hold {
                until: cancelling.step.clone(),
                nth: cancelling.occurrence,
                at_most_ms: Some(HIDDEN),
            }));
            found.stale.push(back(cancelling, Return::Cut, CUT));
        }
        // The deepest past: from the last that is told of the object.
        if let Some(last) = later()
            .rfind(|last| in_all(last))
            .filter(|last| acted_on(last))
        {
            found.stale.push(back(last, Return::Restart, RESTARTED));
        }
    }
    found
}

fn times(entry: &Entry) -> usize {
    usize::try_from(entry.occurrence).unwrap_or(usize::MAX)
}

/// Kind and name, behind `api event <type>`.
fn object_of(entry: &Entry) -> &str {
    entry.step.splitn(4, ' ').nth(3).unwrap_or_default()
}

/// Whether an event changes again what an earlier one of the same object changed.
fn cancels(later: &Entry, event: &Entry) -> bool {
    later
        .changes
        .iter()
        .any(|path| event.changes.contains(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn entry(at: u64, step: &str, occurrence: u32, changes: &[&str]) -> Entry {
        Entry {
            number: at,
            step: step.to_owned(),
            occurrence,
            at,
            effect: step.starts_with("api apply"),
            own: true,
            changes: changes.iter().map(ToString::to_string).collect(),
        }
    }

    fn reference(told: &[Entry]) -> Reference {
        let writes = [entry(15, "api apply services $ns/$app", 1, &[])];
        let traces = [
            (Part::Watcher, told.to_vec()),
            (Part::Executor, writes.into()),
        ];
        Reference::of(traces.into(), Duration::ZERO)
    }

    #[test]
    fn a_state_is_what_is_cancelled_after_somebody_acted_on_it() {
        let told = [
            entry(10, "api event ADDED pods $ns/$app", 1, &["*", "/a", "/b"]),
            entry(11, "api event MODIFIED pods $ns/other", 1, &["/a"]),
            entry(20, "api event MODIFIED pods $ns/$app", 1, &["/a"]),
            entry(30, "api event MODIFIED pods $ns/$app", 2, &["/a"]),
            entry(40, "api event MODIFIED pods $ns/$app", 3, &["/c"]),
        ];
        let found = views(Flow::Create, &[reference(&told), reference(&told)]);
        assert_eq!((found.events, found.cancelled), (5, 2));
        // The second is cancelled as well, but nothing was written between.
        let lines: Vec<String> = found.unobserved.iter().map(Point::line).collect();
        assert_eq!(
            lines,
            [
                "create: watcher sees `api event MODIFIED pods $ns/$app` #1 first, never before it \
              `api event ADDED pods $ns/$app` #1"
            ]
        );
        let lines: Vec<String> = found.stale.iter().map(Point::line).collect();
        assert_eq!(
            lines,
            [
                "create: watcher cut at `api event MODIFIED pods $ns/$app` #1, sees the past of \
                 `api event ADDED pods $ns/$app` #1",
                "create: watcher restarted at `api event MODIFIED pods $ns/$app` #3, sees the past of \
                 `api event ADDED pods $ns/$app` #1",
            ]
        );
        // What the other run did not have is no point.
        let fewer = reference(&told[1..]);
        let found = views(Flow::Create, &[reference(&told), fewer]);
        assert!(found.unobserved.is_empty() && found.stale.is_empty());
    }
}
