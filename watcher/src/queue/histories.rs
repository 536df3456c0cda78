//! What holds for every history of changes, Outcomes, refusals and listings.

use std::collections::BTreeSet;

use proptest::prelude::*;
use signalbox_common::class::ErrorClass;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::wire::OutcomeResult;

use super::bench::*;
use super::*;

/// What may happen.
#[derive(Clone, Debug)]
enum Step {
    Spec(usize),
    Child(usize, u64),
    Urgent(usize),
    Wake(usize, u64),
    End(usize, u8),
    Refuse(usize, u8),
    List(bool),
    Seen(u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let app = 0..80_usize;
    prop_oneof![
        4 => app.clone().prop_map(Step::Spec),
        3 => (app.clone(), 1..20_u64).prop_map(|(app, version)| Step::Child(app, version)),
        1 => app.clone().prop_map(Step::Urgent),
        1 => (app.clone(), 0..5_000_u64).prop_map(|(app, after)| Step::Wake(app, after)),
        5 => (app.clone(), 0..7_u8).prop_map(|(app, how)| Step::End(app, how)),
        1 => (app, 0..4_u8).prop_map(|(app, how)| Step::Refuse(app, how)),
        1 => any::<bool>().prop_map(Step::List),
        1 => (1..20_u64).prop_map(Step::Seen),
        3 => (0..3_000_u64).prop_map(Step::Pass),
    ]
}

fn result(how: u8) -> OutcomeResult {
    match how {
        0 => OutcomeResult::Settled,
        1 => OutcomeResult::Done,
        2 => failed(ErrorClass::Transient),
        3 => failed(ErrorClass::Forbidden),
        4 => OutcomeResult::Busy,
        5 => OutcomeResult::Interrupted,
        _ => OutcomeResult::Waiting {
            until: None,
            on: "x".into(),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Never above the window, never two flights of one object, and in the end nothing is left behind.
    #[test]
    fn every_history_keeps_the_bounds_and_ends(steps in prop::collection::vec(step(), 1..250)) {
        let mut bench = Bench::default();
        let mut now = ms(1);
        let mut flying: Vec<(ObjectKey, ReconcileId)> = Vec::new();
        let name = |app: usize| key(if app.is_multiple_of(3) { "a" } else { "b" }, app);
        for step in steps {
            match step {
                Step::Spec(app) => bench.queue.changed(&name(app), spec(1), now),
                Step::Child(app, version) => bench.queue.changed(&name(app), child("d", version), now),
                Step::Urgent(app) => bench.queue.changed(&name(app), urgent(), now),
                Step::Wake(app, after) => bench.queue.wake(&name(app), Some(now + ms(after))),
                Step::End(app, how) if !flying.is_empty() => {
                    let (key, id) = flying.swap_remove(app % flying.len());
                    let unseen = [Version { uid: "d".into(), number: 9 }];
                    bench.queue.outcome(&outcome(&key, id, result(how)), &unseen, None, now);
                }
                Step::Refuse(app, how) if !flying.is_empty() => {
                    let (key, id) = flying.swap_remove(app % flying.len());
                    let refusals = [Refusal::Full, Refusal::Occupied, Refusal::Never, Refusal::Unknown];
                    bench.queue.refused(&key, id, refusals[usize::from(how)], now);
                }
                Step::End(..) | Step::Refuse(..) => {}
                Step::List(all) => {
                    let found = flying.iter().filter(|_| all).map(|(key, _)| key.clone()).collect();
                    for key in bench.queue.listed(&found, now, now) {
                        flying.retain(|(flying, _)| *flying != key);
                    }
                }
                Step::Seen(version) => bench.queue.observed("d", Some(version), now),
                Step::Pass(time) => now += ms(time),
            }
            for (key, id, _) in bench.sent(now) {
                prop_assert!(!flying.iter().any(|(flying, _)| *flying == key), "two flights of {}", key);
                flying.push((key, id));
            }
            prop_assert!(bench.queue.counts().flights <= WINDOW);
        }
        // Everything ends, however often it failed before.
        for _ in 0..4_000 {
            if bench.queue.counts() == (Counts { flights: 0, dirty: 0, ..bench.queue.counts() })
                && bench.next(now) == Decision::Sleep(None)
            {
                break;
            }
            for (key, id) in std::mem::take(&mut flying) {
                bench.end(&key, id, OutcomeResult::Settled, now);
            }
            bench.queue.listed(&BTreeSet::new(), now, now);
            now += ms(1_000);
            flying.extend(bench.sent(now).into_iter().map(|(key, id, _)| (key, id)));
        }
        let counts = bench.queue.counts();
        prop_assert_eq!((counts.flights, counts.dirty), (0, 0));
    }
}
