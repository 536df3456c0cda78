//! Pacing: what goes at once, what is held in a flurry and in a storm, and what is never held.

use signalbox_common::wire::plan::Rest;
use signalbox_common::wire::{Outcome, OutcomeResult};

use super::bench::*;
use super::*;

#[test]
fn a_quiet_objects_change_goes_at_once_and_changes_in_flight_are_coalesced() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(1_000));
    let (id, cause) = bench.one(ms(1_000));
    assert_eq!(cause, Cause::Spec { generation: 1 });
    for generation in 2..9 {
        bench.queue.changed(&app, spec(generation), ms(1_010));
        assert!(bench.sent(ms(1_010)).is_empty(), "one flight an object");
    }
    bench.end(&app, id, OutcomeResult::Done, ms(1_020));
    assert_eq!(
        bench.next(ms(1_020)),
        Decision::Sleep(Some(ms(1_260))),
        "250 ms after the last"
    );
    assert_eq!(bench.one(ms(1_260)).1, Cause::Spec { generation: 8 });
    assert_eq!(
        bench.queue.counts().coalesced,
        7,
        "and the look behind the first"
    );
}

#[test]
fn what_was_done_is_looked_at_once_more_and_waits_with_a_flurry() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.end(&app, id, OutcomeResult::Done, ms(10));
    let (id, cause) = bench.one(ms(100));
    assert_eq!(cause, Cause::Outcome);
    for step in 0..40 {
        bench.queue.changed(&app, spec(2), ms(110 + step * 50));
    }
    bench.end(&app, id, OutcomeResult::Done, ms(2_070));
    assert!(bench.sent(ms(2_100)).is_empty(), "it is still changing");
    bench.queue.changed(&app, child("d", 1), ms(2_101));
    assert_eq!(
        bench.sent(ms(2_101)).len(),
        1,
        "a child's change is not held"
    );
}

#[test]
fn in_a_storm_a_change_is_held_and_carries_the_newest() {
    let mut bench = Bench::default();
    let apps: Vec<ObjectKey> = (0..200).map(|name| key("a", name)).collect();
    let mut flying: VecDeque<(At, ObjectKey, ReconcileId, OutcomeResult)> = VecDeque::new();
    let (mut flights, mut last) = (0, std::collections::BTreeMap::new());
    // Twenty changes of each object, one a second, in flights of 400 ms: more than the window can carry.
    for step in 0..12_000_u64 {
        let now = ms(step * 5);
        let (round, index) = (step / 200, usize::try_from(step % 200).unwrap());
        if round < 20 {
            bench
                .queue
                .changed(&apps[index], spec(i64::try_from(round).unwrap()), now);
        }
        while flying.front().is_some_and(|(end, ..)| *end <= now) {
            let (_, key, id, result) = flying.pop_front().unwrap();
            bench.end(&key, id, result, now);
        }
        for (key, id, cause) in bench.sent(now) {
            // A look behind what was done finds nothing to do.
            let result = if cause == Cause::Outcome {
                OutcomeResult::Settled
            } else {
                flights += 1;
                last.insert(key.clone(), cause);
                OutcomeResult::Done
            };
            flying.push_back((now + ms(400), key, id, result));
        }
    }
    assert!(flights < 200 * 3, "{flights} flights for 4,000 changes");
    assert!(
        last.values()
            .all(|cause| *cause == Cause::Spec { generation: 19 })
    );
    assert_eq!(
        (bench.queue.counts().dirty, bench.queue.counts().flights),
        (0, 0)
    );
}

#[test]
fn children_and_urgent_things_are_not_held() {
    let mut bench = Bench::default();
    let mut airborne = Vec::new();
    for name in 0..100 {
        bench.queue.changed(
            &key("a", name),
            Change::news(Cause::Resync, Priority::Resync),
            ms(0),
        );
        airborne = bench.sent(ms(0)).into_iter().chain(airborne).collect();
    }
    let (app, id, _) = airborne[0].clone();
    bench.end(&app, id, OutcomeResult::Done, ms(10));
    bench.queue.changed(&app, spec(2), ms(5_000));
    bench.queue.changed(&app, urgent(), ms(5_001));
    assert!(bench.sent(ms(5_001)).iter().any(|(key, ..)| *key == app));
}

#[test]
fn a_result_in_flight_presses_although_a_later_version_of_its_object_does_not() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    for step in 0..20 {
        bench.queue.changed(&app, spec(2), ms(1_000 + step * 50));
    }
    bench.queue.changed(&app, child("app-status", 7), ms(1_960));
    let echo = Change {
        haste: Haste::WithSpec,
        ..child("app-status", 8)
    };
    bench.queue.changed(&app, echo, ms(1_970));
    bench.end(&app, id, OutcomeResult::Settled, ms(1_980));
    assert_eq!(bench.sent(ms(1_980)).len(), 1, "not held with the flurry");
}

/// What turned out to be no news left its time behind: a minute after that, a storm held nothing of its object.
#[test]
fn a_change_that_was_no_news_does_not_shorten_a_later_hold() {
    let mut bench = Bench::default();
    let apps: Vec<ObjectKey> = (0..200).map(|name| key("a", name)).collect();
    for (step, app) in (0..).zip(&apps) {
        let now = step * 100;
        bench.queue.changed(app, spec(1), ms(now));
        let (id, _) = bench.one(ms(now));
        let mut echo = spec(1);
        echo.version = child("app", 7).version;
        bench.queue.changed(app, echo, ms(now + 5));
        let mut done = outcome(app, id, OutcomeResult::Settled);
        done.written.push(written("app", 7));
        bench.queue.outcome(&done, &[], None, ms(now + 10));
    }
    assert_eq!(bench.queue.counts().dirty, 0);
    let mut flights = 0;
    for round in 0..20 {
        let now = 50_000 + round * 1_000;
        for app in &apps {
            let generation = 2 + i64::try_from(round).unwrap();
            bench.queue.changed(app, spec(generation), ms(now));
        }
        for (app, id, _) in bench.sent(ms(now + 500)) {
            flights += 1;
            bench.end(&app, id, OutcomeResult::Settled, ms(now + 600));
        }
    }
    assert_eq!(flights, 0, "all of them still change");
}

#[test]
fn nothing_is_looked_at_behind_a_plan_that_foresaw_rest() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    let done = Outcome {
        rest: Some(Rest { until: None }),
        ..outcome(&app, id, OutcomeResult::Done)
    };
    bench.queue.outcome(&done, &[], None, ms(20));
    assert_eq!(bench.next(ms(5_000)), Decision::Sleep(None));

    // What else changed meanwhile is looked at all the same.
    bench.queue.changed(&app, spec(2), ms(6_000));
    let (id, _) = bench.one(ms(6_000));
    bench.queue.changed(&app, spec(3), ms(6_010));
    let done = Outcome {
        reconcile_id: id,
        ..done
    };
    bench.queue.outcome(&done, &[], None, ms(6_020));
    bench.one(ms(6_200));
}
