//! An object's history from cause to effect: entries of the ledger, joined by reconcile id.
//!
//! Pure. Decides order and wording; never what happened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use signalbox_common::wire::outcome::ActionResult;
use signalbox_common::wire::{Cause, Outcome, OutcomeResult, Plan, Verdict};

use crate::ledger::Entry;
use crate::paint::{Painter, Tone};

/// One flight, as far as the ledger knows it.
#[derive(Debug, Default)]
struct Flight<'a> {
    id: String,
    first: u64,
    entries: Vec<&'a Entry>,
}

/// The timeline as lines, oldest flight first.
#[must_use]
pub fn lines(entries: &[Entry], painter: Painter) -> Vec<String> {
    let mut lines = Vec::new();
    for flight in flights(entries) {
        lines.extend(flight_lines(&flight, painter));
    }
    lines
}

fn flights(entries: &[Entry]) -> Vec<Flight<'_>> {
    let mut by_id: BTreeMap<String, Flight<'_>> = BTreeMap::new();
    for entry in entries {
        let id = entry
            .reconcile_id()
            .unwrap_or_else(|| format!("entry-{}", entry.sequence));
        let flight = by_id.entry(id.clone()).or_insert_with(|| Flight {
            id,
            first: entry.sequence,
            entries: Vec::new(),
        });
        flight.first = flight.first.min(entry.sequence);
        flight.entries.push(entry);
    }
    let mut ordered: Vec<Flight<'_>> = by_id.into_values().collect();
    ordered.sort_by_key(|flight| flight.first);
    ordered
}

impl<'a> Flight<'a> {
    fn find(&self, entry: &str) -> Option<&'a Entry> {
        self.entries
            .iter()
            .find(|found| found.entry == entry)
            .copied()
    }

    fn read<T: serde::de::DeserializeOwned>(&self, entry: &str) -> Option<T> {
        serde_json::from_slice(&self.find(entry)?.body).ok()
    }
}

fn flight_lines(flight: &Flight<'_>, painter: Painter) -> Vec<String> {
    let plan: Option<Plan> = flight.read("plan");
    let outcome: Option<Outcome> = flight.read("outcome");
    let at = flight
        .entries
        .first()
        .map_or(Timestamp::UNIX_EPOCH, |entry| entry.stored_at);
    let (verdict, tone) = verdict(plan.as_ref(), flight);
    let head = format!(
        "{}  {}  {}",
        stamp(at),
        painter.paint(Tone::Strong, &cause(flight, plan.as_ref())),
        painter.paint(tone, &verdict)
    );
    let mut below: Vec<String> = Vec::new();
    if let Some(plan) = &plan {
        below.extend(actions(plan, outcome.as_ref(), painter));
    }
    below.extend(steps(flight, at));
    if let Some(outcome) = &outcome {
        let took = flight.find("outcome").map(|entry| entry.stored_at);
        below.push(ending(outcome, took, at, painter));
    }
    let mut lines = vec![format!("{head}  {}", painter.paint(Tone::Dim, &flight.id))];
    let count = below.len();
    for (index, text) in below.into_iter().enumerate() {
        lines.push(format!(
            "  {} {text}",
            if index + 1 == count {
                "└──"
            } else {
                "├──"
            }
        ));
    }
    lines
}

/// Whole and in UTC, as in other records.
fn stamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

fn cause(flight: &Flight<'_>, plan: Option<&Plan>) -> String {
    let seen = flight.find("event").map(Entry::json).and_then(|event| {
        serde_json::from_value::<Cause>(event.pointer("/observation/cause")?.clone()).ok()
    });
    match seen {
        Some(Cause::Spec { generation }) => format!("spec, generation {generation} (user)"),
        Some(Cause::Child { kind, name }) => format!("child {kind}/{name} (cluster)"),
        Some(Cause::Link { kind, name }) => format!("link {kind}/{name} (cluster)"),
        Some(Cause::Command { command }) => format!("command `{command}` (user)"),
        Some(Cause::Trigger { trigger }) => {
            format!(
                "{} by {}",
                trigger.verb.label(),
                Cause::Trigger {
                    trigger: trigger.clone()
                }
                .actor()
            )
        }
        Some(
            other @ (Cause::Deletion | Cause::Gone | Cause::Timer | Cause::Outcome | Cause::Resync),
        ) => format!("{} ({})", other.label(), other.actor()),
        None => plan.map_or_else(
            || {
                flight
                    .find("settled")
                    .map_or("unknown", |_| "resync")
                    .to_owned()
            },
            |plan| format!("{} ({})", plan.cause, plan.actor),
        ),
    }
}

fn verdict(plan: Option<&Plan>, flight: &Flight<'_>) -> (String, Tone) {
    match plan.map(|plan| &plan.verdict) {
        Some(Verdict::Settled) => ("settled".to_owned(), Tone::Dim),
        Some(Verdict::Waiting { until, on }) => {
            let until = until
                .map(|until| format!(" until {}", stamp(until)))
                .unwrap_or_default();
            (format!("waiting for {on}{until}"), Tone::Busy)
        }
        Some(Verdict::Act { actions }) => {
            let plural = if actions.len() == 1 { "" } else { "s" };
            (format!("{} action{plural}", actions.len()), Tone::Good)
        }
        None if flight.find("settled").is_some() => ("settled".to_owned(), Tone::Dim),
        None => ("no plan".to_owned(), Tone::Warn),
    }
}

fn actions(plan: &Plan, outcome: Option<&Outcome>, painter: Painter) -> Vec<String> {
    let planned = match &plan.verdict {
        Verdict::Act { actions } => actions.as_slice(),
        Verdict::Settled | Verdict::Waiting { .. } => &[],
    };
    planned
        .iter()
        .map(|planned| {
            let report =
                outcome.and_then(|outcome| outcome.actions.iter().find(|r| r.key == planned.key));
            let (tone, word) = match report.map(|report| report.result) {
                Some(ActionResult::Done) => (Tone::Good, "done"),
                Some(ActionResult::FoundDone) => (Tone::Good, "found done"),
                Some(ActionResult::Running) => (Tone::Busy, "running"),
                Some(ActionResult::Failed) => (Tone::Bad, "failed"),
                Some(ActionResult::Skipped) => (Tone::Warn, "skipped"),
                None => (Tone::Dim, "not reported"),
            };
            let took = report
                .map(|report| format!(", {} ms", report.took_ms))
                .unwrap_or_default();
            format!(
                "{} {}: {}{took}",
                planned.action.label(),
                planned.key,
                painter.paint(tone, word)
            )
        })
        .collect()
}

/// Claims, starts and results of long steps.
fn steps(flight: &Flight<'_>, start: Timestamp) -> Vec<String> {
    let known = ["event", "plan", "outcome", "settled"];
    flight
        .entries
        .iter()
        .filter(|entry| !known.contains(&entry.entry.as_str()))
        .map(|entry| {
            let body = entry.json();
            let told: Vec<String> = ["step", "state", "executor", "class", "message"]
                .into_iter()
                .filter_map(|field| body.get(field).and_then(Value::as_str).map(str::to_owned))
                .filter(|text| !text.is_empty())
                .collect();
            format!(
                "{} {} (+{} ms)",
                entry.entry,
                told.join(", "),
                since(start, entry.stored_at)
            )
        })
        .collect()
}

fn since(start: Timestamp, end: Timestamp) -> i128 {
    end.duration_since(start).as_millis()
}

fn ending(outcome: &Outcome, at: Option<Timestamp>, start: Timestamp, painter: Painter) -> String {
    let (tone, detail) = match &outcome.result {
        OutcomeResult::Settled | OutcomeResult::Done => (Tone::Good, String::new()),
        OutcomeResult::Waiting { on, .. } => (Tone::Busy, format!(" for {on}")),
        OutcomeResult::Failed(failure) => (
            Tone::Bad,
            format!(
                " {} at {}: {}",
                failure.class.label(),
                failure.action,
                failure.message
            ),
        ),
        OutcomeResult::Busy | OutcomeResult::Interrupted => (Tone::Warn, String::new()),
        OutcomeResult::Unplannable { message, .. } => (Tone::Bad, format!(": {message}")),
        OutcomeResult::Dead { reason } => (Tone::Bad, format!(": {reason}")),
    };
    let word = painter.paint(tone, outcome.result.label());
    let took = at
        .map(|at| format!(" (+{} ms)", since(start, at)))
        .unwrap_or_default();
    format!("{word}{detail} by {}{took}", outcome.by)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use signalbox_common::id::ObjectKey;
    use signalbox_common::kinds::Kind;

    fn entry(kind: &str, sequence: u64, body: &Value) -> Entry {
        Entry {
            entry: kind.to_owned(),
            key: ObjectKey::new(Kind::PortfolioApp, "shop", "web"),
            sequence,
            stored_at: Timestamp::from_millisecond(i64::try_from(sequence).unwrap()).unwrap(),
            headers: BTreeMap::new(),
            body: serde_json::to_vec(body).unwrap(),
        }
    }

    #[test]
    fn a_flight_reads_from_cause_to_effect() {
        let id = "00000000-0000-0000-0000-000000000001";
        let key = json!({ "kind": "PortfolioApp", "namespace": "shop", "name": "web" });
        let entries = [
            entry(
                "event",
                1,
                &json!({ "schema": 1, "observation": { "reconcileId": id, "cause": { "type": "spec", "generation": 2 } } }),
            ),
            entry(
                "plan",
                2,
                &json!({ "schema": 1, "reconcileId": id, "key": key, "uid": "u", "planner": "0", "observation": "", "cause": "spec", "actor": "user",
                "verdict": { "type": "act", "actions": [{ "key": "status", "id": id, "action": { "type": "patchStatus", "resourceVersion": "1", "seen": "", "status": {} } }] } }),
            ),
            entry(
                "outcome",
                9,
                &json!({ "schema": 1, "reconcileId": id, "key": key, "uid": "u", "by": "executor/a", "result": { "type": "done" },
                "actions": [{ "key": "status", "id": id, "result": "done", "tookMs": 3 }] }),
            ),
        ];
        let text = lines(&entries, Painter::plain()).join("\n");
        assert_eq!(
            text,
            format!(
                "1970-01-01 00:00:00.001Z  spec, generation 2 (user)  1 action  {id}\n  \
                 ├── PatchStatus status: done, 3 ms\n  └── done by executor/a (+8 ms)"
            )
        );
    }
}
