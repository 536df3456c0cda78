//! Failures: when they are counted, held back and over.

use serde_json::{Value, json};

use super::*;

const KEY: &str = "apply/Service/web";

fn seen(at: &str, cause: &Value, result: Option<Value>) -> Observation {
    let key = json!({"kind": "PortfolioApp", "namespace": "team-a", "name": "web"});
    let id = |n: u8| format!("00000000-0000-4000-8000-0000000000{n:02}");
    let outcome = result.map(|result| {
        let (flight, actions) = match result.get("flight") {
            Some(_) => (result["flight"].as_u64().unwrap(), result["actions"].clone()),
            None => (1, json!([])),
        };
        json!({"schema": 1, "reconcileId": id(u8::try_from(flight).unwrap()), "key": key, "uid": "u",
            "by": "executor-1", "result": result, "actions": actions})
    });
    serde_json::from_value(json!({
        "reconcileId": id(90), "cluster": "c", "key": key, "uid": "u", "object": null,
        "observedAt": at, "cause": cause, "outcome": outcome, "interrupted": 0,
    }))
    .unwrap()
}

fn failed(class: &str, flight: u8) -> Value {
    json!({"type": "failed", "action": KEY, "class": class, "message": "no",
        "flight": flight, "actions": []})
}

fn timer() -> Value {
    json!({"type": "timer"})
}

#[test]
fn a_failure_is_held_until_its_time() {
    let first = assess(
        &seen(
            "2026-01-01T00:00:00Z",
            &timer(),
            Some(failed("Forbidden", 1)),
        ),
        None,
        1,
    );
    assert!(first.holds(KEY) && !first.holds("apply/ConfigMap/web") && !first.holds(STATUS));
    let failure = first.clone().settle(&[KEY.to_owned()]).unwrap();
    assert_eq!((failure.attempts, failure.class.as_str()), (1, "Forbidden"));
    assert_eq!(first.until, failure.until);
    // The same Outcome again, or none after a takeover: the same bytes.
    for result in [Some(failed("Forbidden", 1)), None] {
        let again = assess(
            &seen("2026-01-01T00:00:01Z", &timer(), result),
            Some(&failure),
            1,
        );
        assert_eq!(again, first);
    }
    let later = assess(
        &seen("2026-01-01T00:01:00Z", &timer(), None),
        Some(&failure),
        1,
    );
    assert!(!later.holds(KEY));
    assert_eq!(
        later.last_failure,
        Some(failure.clone()),
        "only success withdraws it"
    );
    let next = seen(
        "2026-01-01T00:01:00Z",
        &timer(),
        Some(failed("Forbidden", 2)),
    );
    let next = assess(&next, Some(&failure), 1).last_failure.unwrap();
    assert_eq!((next.attempts, next.since), (2, failure.since));
}

#[test]
fn success_or_indifference_ends_it() {
    let first = assess(
        &seen(
            "2026-01-01T00:00:00Z",
            &timer(),
            Some(failed("Transient", 1)),
        ),
        None,
        1,
    );
    assert_eq!(
        first.clone().settle(&["apply/ConfigMap/web".to_owned()]),
        None
    );
    let failure = first.last_failure.unwrap();
    let report = json!({"key": KEY, "id": uuid::Uuid::nil(), "result": "foundDone"});
    let done = Some(json!({"type": "done", "flight": 2, "actions": [report]}));
    let after = assess(
        &seen("2026-01-01T00:00:09Z", &timer(), done),
        Some(&failure),
        1,
    );
    assert_eq!(after, Assessment::default());
}

/// A single 422 to a write that was right stalled an app until its spec changed.
#[test]
fn an_invalid_write_stalls_and_is_tried_again_later() {
    let invalid = Some(failed("Invalid", 1));
    let first = assess(&seen("2026-01-01T00:00:00Z", &timer(), invalid), None, 1);
    assert_eq!(first.stalled.as_deref(), Some("Invalid"));
    let until = first.until.unwrap();
    let failure = first.last_failure.unwrap();
    let at = |when: &str| assess(&seen(when, &timer(), None), Some(&failure), 1);
    assert!(until <= "2026-01-01T00:00:05Z".parse().unwrap(), "{until}");
    assert!(at("2026-01-01T00:00:03Z").holds(KEY));
    let again = at("2026-01-01T00:00:05Z");
    assert!(!again.holds(KEY) && again.last_failure.is_some());
}

#[test]
fn only_changes_that_matter_bypass_the_wait() {
    let first = assess(
        &seen(
            "2026-01-01T00:00:00Z",
            &timer(),
            Some(failed("Ambiguous", 1)),
        ),
        None,
        1,
    );
    assert_eq!(
        (first.until, first.stalled.as_deref()),
        (None, Some("Ambiguous"))
    );
    let failure = first.last_failure.unwrap();
    let held = |cause: &Value, generation| {
        let seen = seen("2026-01-02T00:00:00Z", cause, None);
        assess(&seen, Some(&failure), generation).holds(KEY)
    };
    assert!(held(&timer(), 1) && held(&json!({"type": "resync"}), 1));
    assert!(held(
        &json!({"type": "child", "kind": "Deployment", "name": "web-1"}),
        1
    ));
    assert!(!held(
        &json!({"type": "child", "kind": "Service", "name": "web"}),
        1
    ));
    assert!(!held(&json!({"type": "spec", "generation": 1}), 1) && !held(&timer(), 2));
    assert!(!held(&json!({"type": "command", "command": "retry"}), 1));
}

#[test]
fn conflicts_and_the_status_itself_are_no_failures() {
    let conflict = seen(
        "2026-01-01T00:00:00Z",
        &timer(),
        Some(failed("Conflict", 1)),
    );
    assert_eq!(assess(&conflict, None, 1), Assessment::default());
    let status = json!({"type": "failed", "action": STATUS, "class": "Transient", "message": "no"});
    let status = seen("2026-01-01T00:00:00Z", &timer(), Some(status));
    assert_eq!(assess(&status, None, 1), Assessment::default());
}

#[test]
fn interruptions_back_off_and_stall() {
    let mut seen = seen(
        "2026-01-01T00:00:00Z",
        &timer(),
        Some(json!({"type": "interrupted"})),
    );
    seen.interrupted = 1;
    assert_eq!(
        assess(&seen, None, 1),
        Assessment::default(),
        "one is observed anew at once"
    );
    seen.interrupted = 2;
    let second = assess(&seen, None, 1);
    assert!(second.holds(KEY) && second.stalled.is_none() && !second.holds(STATUS));
    // The write that tells of it ends the watcher's row; the count in status goes on.
    let mut failure = second.last_failure.unwrap();
    for (attempt, flight) in (3..=5).zip(2_u128..) {
        let outcome = seen.outcome.as_mut().unwrap();
        outcome.reconcile_id.0 = uuid::Uuid::from_u128(flight);
        seen.interrupted = 1;
        let next = assess(&seen, Some(&failure), 1);
        failure = next.last_failure.clone().unwrap();
        assert_eq!(failure.attempts, attempt);
        assert_eq!(next.stalled.is_some(), attempt == 5);
    }
    assert_eq!(failure.until, Some("2026-01-01T00:05:00Z".parse().unwrap()));
}

#[test]
fn a_servers_own_time_is_kept() {
    let mut seen = seen(
        "2026-01-01T00:00:00Z",
        &timer(),
        Some(failed("Throttled", 1)),
    );
    let named: Timestamp = "2026-01-01T00:02:00Z".parse().unwrap();
    seen.outcome.as_mut().unwrap().not_before = Some(named);
    assert_eq!(assess(&seen, None, 1).until, Some(named));
}

/// A regression test: an executor whose clock was an hour ahead held a throttled action back for that hour.
#[test]
fn an_executors_clock_that_is_ahead_holds_nothing_back_for_long() {
    let mut seen = seen(
        "2026-01-01T00:00:00Z",
        &timer(),
        Some(failed("Throttled", 1)),
    );
    if let Some(outcome) = &mut seen.outcome {
        outcome.not_before = Some("2026-01-01T01:00:01Z".parse().unwrap());
    }
    let until = assess(&seen, None, 1).until.unwrap();
    assert_eq!(until, "2026-01-01T00:05:00Z".parse().unwrap());
    if let Some(outcome) = &mut seen.outcome {
        outcome.not_before = Some("2026-01-01T00:00:30Z".parse().unwrap());
    }
    let until = assess(&seen, None, 1).until.unwrap();
    assert_eq!(until, "2026-01-01T00:00:30Z".parse().unwrap());
}

/// A policy refused an app's `ConfigMap` and its Deployment in turn: each was tried while the other one waited.
#[test]
fn two_actions_that_are_refused_in_turn_wait_together() {
    let at = |at: &str, flight| {
        let mut seen = seen(at, &timer(), Some(failed("Forbidden", flight)));
        if let (2, Some(outcome)) = (flight, &mut seen.outcome) {
            let OutcomeResult::Failed(failure) = &mut outcome.result else {
                unreachable!("it failed")
            };
            failure.action = "apply/ConfigMap/web".to_owned();
        }
        seen
    };
    let first = assess(&at("2026-01-01T00:00:00Z", 1), None, 1);
    let first = first.last_failure.unwrap();
    let both = assess(&at("2026-01-01T00:00:01Z", 2), Some(&first), 1);
    assert!(both.holds(KEY) && both.holds("apply/ConfigMap/web") && !both.holds(STATUS));
    let told = both.settle(&[KEY.to_owned()]).unwrap();
    assert_eq!((told.action.as_str(), told.attempts), (PLAN, 2));
    // Behind the wait, one of them still fails: together again, for longer.
    let again = assess(&at("2026-01-01T00:10:00Z", 3), Some(&told), 1);
    assert!(again.holds("apply/ConfigMap/web"));
    assert_eq!(again.last_failure.unwrap().attempts, 3);
}
