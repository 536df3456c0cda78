//! Order: priorities, places kept for what is urgent, turns of namespaces, and the window that watchers share.

use signalbox_common::class::ErrorClass;
use signalbox_common::id::ReconcileId;
use signalbox_common::wire::OutcomeResult;
use uuid::Uuid;

use super::bench::*;
use super::*;

/// More than there are places.
fn resync_sixty(bench: &mut Bench, namespace: &str, now: At) {
    for name in 0..60 {
        let resync = Change::news(Cause::Resync, Priority::Resync);
        bench.queue.changed(&key(namespace, name), resync, now);
    }
}

#[test]
fn urgent_goes_first_and_has_places_of_its_own() {
    let mut bench = Bench::default();
    resync_sixty(&mut bench, "a", ms(0));
    assert_eq!(bench.sent(ms(0)).len(), ORDINARY);
    for name in 100..105 {
        bench.queue.changed(&key("a", name), urgent(), ms(1));
    }
    assert_eq!(bench.sent(ms(1)).len(), WINDOW - ORDINARY);
    assert_eq!(bench.queue.counts().flights, WINDOW);
}

#[test]
fn a_place_is_free_a_moment_after_its_outcome() {
    let mut bench = Bench::default();
    resync_sixty(&mut bench, "a", ms(0));
    let sent = bench.sent(ms(0));
    for (key, id, _) in &sent[..5] {
        bench.end(key, *id, OutcomeResult::Settled, ms(100));
    }
    assert_eq!(bench.next(ms(100)), Decision::Sleep(Some(ms(120))));
    assert_eq!(bench.sent(ms(120)).len(), 5);
}

#[test]
fn with_another_watcher_half_the_places_are_used() {
    let mut bench = Bench::default();
    let foreign = outcome(
        &key("a", 1),
        ReconcileId(Uuid::from_u128(99)),
        OutcomeResult::Done,
    );
    bench.queue.outcome(&foreign, &[], None, ms(0));
    resync_sixty(&mut bench, "a", ms(0));
    assert_eq!(bench.sent(ms(1)).len(), WINDOW / 2 - URGENT);
    assert_eq!(bench.sent(ms(30_000)).len(), WINDOW / 2, "it has gone");
}

#[test]
fn who_leads_without_a_lease_leaves_half_the_places_from_the_start() {
    let mut bench = Bench::default();
    bench.queue = Queue::new(true);
    resync_sixty(&mut bench, "a", ms(0));
    assert_eq!(bench.sent(ms(1)).len(), WINDOW / 2 - URGENT);
    bench.queue.clear();
    resync_sixty(&mut bench, "b", ms(2));
    assert_eq!(bench.sent(ms(3)).len(), WINDOW / 2 - URGENT);
}

#[test]
fn priorities_are_served_in_order() {
    let mut bench = Bench::default();
    let resync = Change::news(Cause::Resync, Priority::Resync);
    let changes = [resync, child("d", 1), spec(1), urgent()];
    for (name, change) in changes.into_iter().enumerate() {
        bench.queue.changed(&key("a", name), change, ms(0));
    }
    let order: Vec<&str> = bench
        .sent(ms(0))
        .iter()
        .map(|(_, _, cause)| cause.label())
        .collect();
    assert_eq!(order, ["deletion", "spec", "child", "resync"]);
}

#[test]
fn namespaces_take_turns_and_none_has_more_than_half_while_others_wait() {
    let mut bench = Bench::default();
    for name in 0..100 {
        bench.queue.changed(
            &key("big", name),
            Change::news(Cause::Resync, Priority::Resync),
            ms(0),
        );
    }
    for name in 0..30 {
        bench.queue.changed(
            &key("small", name),
            Change::news(Cause::Resync, Priority::Resync),
            ms(0),
        );
    }
    let sent = bench.sent(ms(0));
    let of = |namespace: &str| {
        sent.iter()
            .filter(|(key, ..)| key.namespace == namespace)
            .count()
    };
    assert_eq!((of("big"), of("small")), (NAMESPACE_SHARE, NAMESPACE_SHARE));
    assert_ne!(sent[0].0.namespace, sent[1].0.namespace);

    let mut alone = Bench::default();
    for name in 0..100 {
        alone.queue.changed(
            &key("big", name),
            Change::news(Cause::Resync, Priority::Resync),
            ms(0),
        );
    }
    assert_eq!(alone.sent(ms(0)).len(), ORDINARY, "nobody else waits");
}

#[test]
fn a_namespace_whose_plans_time_out_gets_two_flights() {
    let mut bench = Bench::default();
    for name in 0..20 {
        bench.queue.changed(
            &key("slow", name),
            Change::news(Cause::Resync, Priority::Resync),
            ms(0),
        );
    }
    let sent = bench.sent(ms(0));
    assert_eq!(sent.len(), 20);
    for (key, id, _) in sent {
        bench.end(&key, id, failed(ErrorClass::Transient), ms(10_000));
    }
    assert_eq!(bench.sent(ms(20_000)).len(), 2);
}
