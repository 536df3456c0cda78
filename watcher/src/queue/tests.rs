//! The queue's rules, one test each.

use std::collections::BTreeSet;
use std::time::Duration;

use signalbox_common::class::ErrorClass;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::wire::outcome::Written;
use signalbox_common::wire::{Cause, OutcomeResult, Trigger, trigger::Verb};
use uuid::Uuid;

use super::bench::*;
use super::*;

#[test]
fn own_writes_are_no_news_whether_seen_before_or_after_the_outcome() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.queue.changed(&app, child("d", 7), ms(5));
    let mut done = outcome(&app, id, OutcomeResult::Done);
    done.written = vec![written("d", 7), written("s", 9)];
    bench.queue.outcome(&done, &[], None, ms(10));
    bench.queue.changed(&app, child("s", 9), ms(11));
    let (id, cause) = bench.one(ms(1_000));
    assert_eq!(cause, Cause::Outcome, "the look behind what was done");
    bench.end(&app, id, OutcomeResult::Settled, ms(1_005));
    assert!(bench.sent(ms(10_000)).is_empty());
    bench.queue.changed(&app, child("d", 8), ms(12));
    assert_eq!(
        bench.one(ms(10_000)).1.label(),
        "child",
        "a later version is somebody else's"
    );
}

/// Seed 56774: the wait for an own write ended before the cache saw it, and the flight that went out without it was the last.
#[test]
fn an_own_write_that_the_last_flight_went_without_is_news() {
    for seen_in_flight in [true, false] {
        let (mut bench, app) = (Bench::default(), key("a", 1));
        bench.queue.changed(&app, spec(1), ms(0));
        let (id, _) = bench.one(ms(0));
        let mut done = outcome(&app, id, OutcomeResult::Done);
        done.written = vec![written("d", 7)];
        let unseen = [Version {
            uid: "d".into(),
            number: 7,
        }];
        bench.queue.outcome(&done, &unseen, None, ms(10));
        let (id, _) = bench.one(ms(3_000));
        let seen = |bench: &mut Bench, at| {
            bench.queue.observed("d", Some(7), at);
            bench.queue.changed(&app, child("d", 7), at);
        };
        if seen_in_flight {
            seen(&mut bench, ms(3_010));
        }
        bench.end(&app, id, OutcomeResult::Settled, ms(3_020));
        if !seen_in_flight {
            seen(&mut bench, ms(3_030));
        }
        assert_eq!(bench.one(ms(10_000)).1.label(), "child", "{seen_in_flight}");
    }
}

#[test]
fn a_write_that_was_retried_and_a_later_version_in_flight_are_news() {
    for retried in [false, true] {
        let (mut bench, app) = (Bench::default(), key("a", 1));
        bench.queue.changed(&app, spec(1), ms(0));
        let (id, _) = bench.one(ms(0));
        bench
            .queue
            .changed(&app, child("d", if retried { 7 } else { 8 }), ms(5));
        let mut done = outcome(&app, id, OutcomeResult::Done);
        done.written = vec![Written {
            retried,
            ..written("d", 7)
        }];
        bench.queue.outcome(&done, &[], None, ms(10));
        assert_eq!(bench.one(ms(100)).1.label(), "child");
    }
}

#[test]
fn nothing_is_sent_before_the_cache_has_seen_what_was_written() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    let unseen = [Version {
        uid: "d".into(),
        number: 7,
    }];
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.queue.changed(&app, spec(2), ms(1_000));
    bench.queue.outcome(
        &outcome(&app, id, OutcomeResult::Done),
        &unseen,
        None,
        ms(1_200),
    );
    assert_eq!(
        bench.next(ms(1_200)),
        Decision::Sleep(Some(ms(3_200))),
        "2 s at most"
    );
    bench.queue.observed("d", Some(6), ms(1_201));
    assert!(bench.sent(ms(1_201)).is_empty());
    bench.queue.observed("d", Some(7), ms(1_202));
    let (id, _) = bench.one(ms(1_202));
    bench.queue.changed(&app, spec(3), ms(2_300));
    bench.queue.outcome(
        &outcome(&app, id, OutcomeResult::Done),
        &unseen,
        None,
        ms(2_500),
    );
    bench.queue.observed("d", None, ms(2_900));
    bench.one(ms(2_900));
}

#[test]
fn a_first_failure_is_planned_at_once_and_the_next_ones_back_off() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.end(&app, id, failed(ErrorClass::Transient), ms(150));
    let (id, cause) = bench.one(ms(150));
    assert_eq!(cause, Cause::Outcome);
    assert!(bench.queue.last_outcome(&app).is_some());
    bench.end(&app, id, failed(ErrorClass::Transient), ms(1_000));
    let Decision::Sleep(Some(until)) = bench.next(ms(1_000)) else {
        panic!("sent")
    };
    assert!(until > ms(1_350) && until <= ms(1_500), "{until:?}");
    let status = Change {
        bypass: false,
        ..child("d", 3)
    };
    bench.queue.changed(&app, status, ms(1_100));
    assert!(
        bench.sent(ms(1_100)).is_empty(),
        "a status does not end a backoff"
    );
    bench.queue.changed(&app, child("d", 4), ms(1_200));
    bench.one(ms(1_200));
}

#[test]
fn what_changed_in_flight_ends_the_backoff() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let mut now = ms(0);
    for _ in 0..6 {
        let (id, _) = bench.one(now);
        now += ms(60_000);
        bench.end(&app, id, failed(ErrorClass::Forbidden), now);
        now += Duration::from_mins(6);
    }
    let (id, _) = bench.one(now);
    bench.queue.changed(&app, spec(2), now);
    bench.end(&app, id, failed(ErrorClass::Forbidden), now + ms(1_000));
    bench.one(now + ms(1_000));
}

#[test]
fn interrupted_backs_off_from_the_second_on() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.end(&app, id, OutcomeResult::Interrupted, ms(200));
    let (id, _) = bench.one(ms(200));
    assert_eq!(bench.queue.interrupted(&app), 1);
    bench.end(&app, id, OutcomeResult::Interrupted, ms(400));
    assert!(bench.sent(ms(400)).is_empty());
    let (id, _) = bench.one(ms(1_000));
    bench.end(&app, id, OutcomeResult::Done, ms(1_100));
    assert_eq!(bench.queue.interrupted(&app), 0);
}

#[test]
fn an_outcome_of_another_flight_ends_nothing_and_an_unknown_flight_ends_with_any() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    let other = ReconcileId(Uuid::from_u128(99));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.end(&app, other, OutcomeResult::Done, ms(10));
    assert_eq!(
        (bench.queue.counts().flights, bench.queue.counts().dirty),
        (1, 1)
    );
    bench.end(&app, id, OutcomeResult::Done, ms(20));
    let (id, _) = bench.one(ms(100));
    bench.queue.refused(&app, id, Refusal::Occupied, ms(110));
    assert_eq!(bench.queue.counts().flights, 1, "somebody else's");
    bench.end(&app, other, OutcomeResult::Settled, ms(120));
    assert_eq!(bench.queue.counts().flights, 0);
    bench.one(ms(400));
}

#[test]
fn a_flight_found_nowhere_twice_is_lost_and_flights_found_are_kept() {
    let (mut bench, app, foreign) = (Bench::default(), key("a", 1), key("a", 2));
    bench.queue.changed(&app, spec(1), ms(0));
    bench.one(ms(0));
    assert!(!bench.queue.has_old_flight(ms(1_999)) && bench.queue.has_old_flight(ms(2_000)));
    let nothing = BTreeSet::new();
    let all: BTreeSet<ObjectKey> = [app.clone(), foreign.clone()].into();
    assert!(
        bench
            .queue
            .listed(&nothing, ms(1_000), ms(1_010))
            .is_empty(),
        "too young"
    );
    assert!(
        bench
            .queue
            .listed(&nothing, ms(3_000), ms(3_010))
            .is_empty()
    );
    assert!(
        bench.queue.listed(&all, ms(4_000), ms(4_010)).is_empty(),
        "found again"
    );
    assert_eq!(bench.queue.counts().flights, 2);
    let one: BTreeSet<ObjectKey> = [foreign].into();
    assert!(bench.queue.listed(&one, ms(5_000), ms(5_010)).is_empty());
    assert_eq!(bench.queue.listed(&one, ms(6_000), ms(6_010)), [app]);
    assert_eq!(bench.queue.counts().lost, 1);
    assert_eq!(
        bench.one(ms(6_010)).1.label(),
        "spec",
        "what it carried goes again"
    );
}

#[test]
fn a_flight_seen_on_its_way_out_does_not_come_back() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.end(&app, id, OutcomeResult::Done, ms(3_005));
    bench.queue.listed(&[app].into(), ms(3_000), ms(3_010));
    assert_eq!(bench.queue.counts().flights, 0);
}

#[test]
fn a_full_stream_is_left_alone_for_a_moment() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.queue.refused(&app, id, Refusal::Full, ms(1));
    assert_eq!(bench.next(ms(1)), Decision::Sleep(Some(ms(51))));
    bench.one(ms(200));
}

#[test]
fn a_wake_up_rings_once() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.wake(&app, Some(ms(500)));
    assert_eq!(bench.next(ms(0)), Decision::Sleep(Some(ms(500))));
    let (id, cause) = bench.one(ms(500));
    assert_eq!(cause, Cause::Timer);
    bench.end(&app, id, OutcomeResult::Settled, ms(510));
    assert_eq!(bench.next(ms(60_000)), Decision::Sleep(None));
    assert!(bench.queue.forget_if_idle(&app));
}

#[test]
fn a_trigger_has_a_flight_of_its_own_and_is_not_held_by_a_backoff() {
    let (mut bench, app) = (Bench::default(), key("a", 1));
    bench.queue.changed(&app, spec(1), ms(0));
    let (id, _) = bench.one(ms(0));
    bench.end(&app, id, failed(ErrorClass::Invalid), ms(200));
    let (id, _) = bench.one(ms(200));
    bench.end(&app, id, failed(ErrorClass::Invalid), ms(400));
    assert!(bench.sent(ms(1_000)).is_empty());
    let trigger = Trigger {
        id: "t".into(),
        source: "s".into(),
        time: jiff::Timestamp::UNIX_EPOCH,
        tenant: "ci".into(),
        verb: Verb::Restart,
        reason: None,
    };
    bench.queue.trigger(&app, trigger.clone(), ms(1_000));
    let (id, cause) = bench.one(ms(1_000));
    assert_eq!(
        cause,
        Cause::Trigger {
            trigger: trigger.clone()
        }
    );
    let done = outcome(&app, id, OutcomeResult::Done);
    let ended = bench.queue.outcome(&done, &[], None, ms(1_010));
    assert_eq!(ended.trigger, Some(trigger));
}
