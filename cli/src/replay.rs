//! Planning recorded Events again, and comparing.
//!
//! Decides what counts as same, differing, missing and skipped. Pure: never reads the ledger, never
//! sends anything to anybody.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::Value;
use signalbox_common::wire::{self, Event, Observation, Plan};

use crate::ledger::Entry;

/// Differences that are kept for each plan.
const MAX_CHANGES: usize = 20;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Plans that came out as recorded.
    pub same: usize,
    /// Plans that came out otherwise.
    pub differs: Vec<Difference>,
    /// Events without a recorded Plan, or that this planner can't plan: by reconcile id, with the reason.
    pub missing: Vec<Missing>,
    /// Entries that keep no snapshot (settled plans of a resync).
    pub skipped: usize,
}

impl Report {
    /// Whether this planner decides as the recorded one did.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.differs.is_empty() && self.missing.is_empty()
    }

    /// The last line of the output.
    #[must_use]
    pub fn summary(&self) -> String {
        format!(
            "{} same, {} differs, {} missing, {} skipped",
            self.same,
            self.differs.len(),
            self.missing.len(),
            self.skipped
        )
    }
}

/// A plan that came out otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The flight.
    pub reconcile_id: String,
    /// The object, `Kind/namespace/name`.
    pub object: String,
    /// Why it was sent.
    pub cause: String,
    /// Version of the planner that was recorded.
    pub recorded_by: String,
    /// What changed: `path: recorded -> now`, at most twenty.
    pub changes: Vec<String>,
}

/// An Event that has nothing to be compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The flight.
    pub reconcile_id: String,
    /// The object, `Kind/namespace/name`.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// Plans all recorded Events of `entries` again, with this build's planner.
#[must_use]
pub fn compare(entries: &[Entry]) -> Report {
    compare_with(entries, signalbox_planner::plan)
}

/// The same with another planner.
pub fn compare_with(entries: &[Entry], plan: impl Fn(&Observation) -> Plan) -> Report {
    let mut report = Report::default();
    let mut plans: BTreeMap<String, &Entry> = BTreeMap::new();
    let mut events: BTreeMap<String, &Entry> = BTreeMap::new();
    for entry in entries {
        let id = entry
            .reconcile_id()
            .unwrap_or_else(|| format!("entry {}", entry.sequence));
        match entry.entry.as_str() {
            "event" => {
                // Recorded twice only if a planner died between record and plan: the first is as good.
                events.entry(id).or_insert(entry);
            }
            "plan" => {
                plans.entry(id).or_insert(entry);
            }
            "settled" => report.skipped += 1,
            _ => {}
        }
    }
    let mut ordered: Vec<(&String, &&Entry)> = events.iter().collect();
    ordered.sort_by_key(|(_, entry)| entry.sequence);
    for (id, event) in ordered {
        judge(
            id,
            event,
            plans.get(id.as_str()).copied(),
            &plan,
            &mut report,
        );
    }
    report
}

fn judge(
    id: &str,
    event: &Entry,
    recorded: Option<&Entry>,
    plan: &impl Fn(&Observation) -> Plan,
    report: &mut Report,
) {
    let object = event.key.to_string();
    let missing = |reason: String| Missing {
        reconcile_id: id.to_owned(),
        object: object.clone(),
        reason,
    };
    let observation = match wire::decode::<Event>(&event.body) {
        Ok(read) => read.observation,
        Err(reason) => {
            report.missing.push(missing(format!(
                "the recorded event can't be read: {reason}"
            )));
            return;
        }
    };
    let Some(recorded) = recorded else {
        report
            .missing
            .push(missing("no plan is recorded".to_owned()));
        return;
    };
    let planned = catch_unwind(AssertUnwindSafe(|| plan(&observation)));
    let Some(now) = planned
        .ok()
        .and_then(|plan| serde_json::to_value(plan).ok())
    else {
        report
            .missing
            .push(missing("this planner can't plan the event".to_owned()));
        return;
    };
    let before = recorded.json();
    let changes = changes(&before, &now);
    if changes.is_empty() {
        report.same += 1;
        return;
    }
    report.differs.push(Difference {
        reconcile_id: id.to_owned(),
        object,
        cause: observation.cause.label().to_owned(),
        recorded_by: before
            .get("planner")
            .and_then(Value::as_str)
            .unwrap_or("unknown")
            .to_owned(),
        changes,
    });
}

/// What differs between two plans; versions of the planner and of the message do not count, nor what planners of
/// different versions foresee.
fn changes(before: &Value, now: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let foresees = before.get("planner") == now.get("planner");
    walk(
        "",
        &without_version(before, foresees),
        &without_version(now, foresees),
        &mut found,
    );
    found.truncate(MAX_CHANGES);
    found
}

fn without_version(plan: &Value, foresees: bool) -> Value {
    let mut plan = plan.clone();
    if let Some(fields) = plan.as_object_mut() {
        fields.remove("planner");
        fields.remove("schema");
        if !foresees {
            fields.remove("rest");
        }
    }
    plan
}

fn walk(path: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let (old, new) = (old.get(name), new.get(name));
                walk(
                    &format!("{path}/{name}"),
                    old.unwrap_or(&Value::Null),
                    new.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let (old, new) = (old.get(index), new.get(index));
                walk(
                    &format!("{path}/{index}"),
                    old.unwrap_or(&Value::Null),
                    new.unwrap_or(&Value::Null),
                    found,
                );
            }
        }
        _ if before == now => {}
        _ => found.push(format!("{path}: {} -> {}", short(before), short(now))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    let start: String = text.chars().take(57).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;
    use signalbox_common::id::{ObjectKey, ReconcileId};
    use signalbox_common::kinds::Kind;
    use signalbox_common::wire::{Cause, Verdict};

    fn observation(id: u128) -> Observation {
        serde_json::from_value(json!({
            "reconcileId": uuid::Uuid::from_u128(id), "cluster": "c",
            "key": { "kind": "PortfolioApp", "namespace": "n", "name": "web" }, "uid": "u",
            "observedAt": "2026-01-01T00:00:00Z", "cause": { "type": "resync" }, "object": null,
        }))
        .unwrap()
    }

    fn planned(observation: &Observation, on: &str) -> Plan {
        Plan {
            schema: wire::SCHEMA,
            reconcile_id: ReconcileId(observation.reconcile_id.0),
            key: observation.key.clone(),
            uid: observation.uid.clone(),
            planner: "0".to_owned(),
            observation: String::new(),
            cause: Cause::Resync.label().to_owned(),
            actor: String::new(),
            trigger: None,
            rest: None,
            verdict: Verdict::Waiting {
                until: None,
                on: on.to_owned(),
            },
        }
    }

    fn entry(kind: &str, sequence: u64, body: &impl serde::Serialize) -> Entry {
        Entry {
            entry: kind.to_owned(),
            key: ObjectKey::new(Kind::PortfolioApp, "n", "web"),
            sequence,
            stored_at: Timestamp::UNIX_EPOCH,
            headers: BTreeMap::new(),
            body: serde_json::to_vec(body).unwrap(),
        }
    }

    fn recorded(ids: &[u128]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (id, at) in ids.iter().zip(1_u64..) {
            let seen = observation(*id);
            entries.push(entry("event", at * 10, &Event::new(seen.clone())));
            entries.push(entry("plan", at * 10 + 1, &planned(&seen, "a")));
        }
        entries
    }

    #[test]
    fn the_same_rules_give_the_same_plans() {
        let mut entries = recorded(&[1, 2]);
        entries.push(entry("settled", 90, &json!({})));
        entries.push(entry("outcome", 91, &json!({})));
        let report = compare_with(&entries, |o| planned(o, "a"));
        assert!(report.is_clean());
        assert_eq!(report.summary(), "2 same, 0 differs, 0 missing, 1 skipped");
    }

    /// A regression test: each plan that was made for a message of another schema counted as different.
    #[test]
    fn another_schema_makes_no_difference() {
        let entries = recorded(&[1, 2]);
        let report = compare_with(&entries, |o| Plan {
            schema: wire::SCHEMA + 1,
            ..planned(o, "a")
        });
        assert_eq!(report.summary(), "2 same, 0 differs, 0 missing, 0 skipped");
    }

    #[test]
    fn one_changed_rule_differs_for_exactly_its_plans() {
        let entries = recorded(&[1, 2, 3]);
        let second = uuid::Uuid::from_u128(2);
        let report = compare_with(&entries, |o| {
            planned(o, if o.reconcile_id.0 == second { "b" } else { "a" })
        });
        assert_eq!(report.same, 2);
        let ids: Vec<&str> = report
            .differs
            .iter()
            .map(|d| d.reconcile_id.as_str())
            .collect();
        assert_eq!(ids, [second.to_string()]);
        assert_eq!(report.differs[0].changes, ["/verdict/on: \"a\" -> \"b\""]);
    }

    #[test]
    fn an_event_without_a_plan_is_missing() {
        let entries: Vec<Entry> = recorded(&[1])
            .into_iter()
            .filter(|e| e.entry == "event")
            .collect();
        let report = compare_with(&entries, |o| planned(o, "a"));
        assert_eq!(report.missing[0].reason, "no plan is recorded");
        assert!(!report.is_clean());
    }
}
