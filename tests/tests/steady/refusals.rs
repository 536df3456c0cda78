//! A storm of refusals and lost answers at the executor's side of the API server: how many requests it costs, and that
//! nobody asks again before a wait that the server named is over.

use std::collections::BTreeSet;
use std::time::Instant;

use signalbox_proxy::trace::Entry;
use signalbox_proxy::{Fault, Loss, Masks, Occurrence, Plan, Rule};
use signalbox_tests::figures::figure;
use signalbox_tests::{Objects, Part};

use crate::{all_serve, create, names, proxied, requests, set, world};

/// The objects of a namespace that parts make, by kind and name.
async fn children(objects: &Objects) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for kind in ["deployment", "service", "configmap"] {
        for object in objects.list(kind).await {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if name.starts_with("orders-") {
                all.insert(format!("{kind} {name}"));
            }
        }
    }
    all
}

fn storm() -> Plan {
    let faults = [
        Fault::Refuse {
            code: 429,
            retry_after: Some(2),
        },
        Fault::Refuse {
            code: 500,
            retry_after: None,
        },
        Fault::Refuse {
            code: 503,
            retry_after: None,
        },
        Fault::Lose(Loss::Timeout),
        Fault::Lose(Loss::Reset),
    ];
    // Each rule draws for itself; together a fifth of all requests.
    let rules = faults.into_iter().zip(11..).map(|(fault, seed)| Rule {
        step: "api *".to_owned(),
        occurrence: Occurrence::Percent { of: 4, seed },
        fault,
    });
    Plan {
        rules: rules.collect(),
    }
}

/// Requests that were made for an object before the time that a 429 named was over.
fn hasty(director: &signalbox_proxy::Director) -> Vec<String> {
    let (trace, made) = (director.trace(), director.made());
    let refused = made.iter().filter(|entry| is_throttled(entry, &storm()));
    let mut hasty = Vec::new();
    for refused in refused {
        for entry in requests(&trace) {
            let soon = entry.number > refused.number && entry.at < refused.at + 2_000;
            if soon && entry.step == refused.step {
                let waited = entry.at - refused.at;
                hasty.push(format!("{} again after {waited} ms", entry.step));
            }
        }
    }
    hasty
}

/// Whether the fault that was made at a step was the 429: the first rule that drew it.
fn is_throttled(entry: &Entry, plan: &Plan) -> bool {
    plan.first_that_fits(&entry.step, entry.occurrence, entry.number)
        .is_some_and(|fault| matches!(fault, Fault::Refuse { code: 429, .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_refusals_and_lost_answers() {
    const APPS: usize = 12;
    let world = world("steady-storm").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let executor = proxied(&world, Part::Executor).await;
    let director = &executor.proxy.director;
    let names = names(APPS);
    let mut runs = Vec::new();
    for plan in [Plan::default(), storm()] {
        let objects = world.namespace(&[]).await;
        let masks = Masks::none().with(&objects.namespace, "$ns");
        director.begin(masks, plan);
        let begun = Instant::now();
        create(&world, &objects, &names).await;
        all_serve(&world, &objects).await;
        for image in ["example/orders:2", "example/orders:3"] {
            set(&objects, &names, image).await;
            all_serve(&world, &objects).await;
        }
        let sent = requests(&director.trace()).len();
        println!(
            "{sent} requests, {} faults, {:?}",
            director.made().len(),
            begun.elapsed()
        );
        runs.push((sent, children(&objects).await));
    }
    let [(needed, calm), (sent, stormy)] = runs.as_slice() else {
        unreachable!("two runs");
    };
    assert_eq!(calm, stormy, "the same objects");
    assert!(director.made().len() * 8 > *sent, "the storm was one");
    let hasty = hasty(director);
    figure("api-storm-before-retry-after", hasty.len(), "requests");
    assert!(hasty.is_empty(), "{hasty:?}");
    #[expect(clippy::cast_precision_loss, reason = "a ratio of small numbers")]
    let ratio = *sent as f64 / *needed as f64;
    figure("api-storm-requests-per-needed", ratio, "times");
    assert!(ratio <= 2.0, "{ratio}");
}

/// A write's answer is lost, and the reading that follows is told to wait: nobody else asks for the object meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_a_reading_was_told_holds_for_the_object() {
    let world = world("steady-wait").await;
    let _watcher = world.part(Part::Watcher);
    let _planner = world.part(Part::Planner);
    let executor = proxied(&world, Part::Executor).await;
    let objects = world.namespace(&[]).await;
    let names = names(1);
    create(&world, &objects, &names).await;
    all_serve(&world, &objects).await;
    let rule = |step: &str, fault| Plan::once_any(step, fault).rules;
    let refused = Fault::Refuse {
        code: 429,
        retry_after: Some(2),
    };
    let plan = Plan {
        rules: [
            rule("api update deployments/scale *", Fault::Lose(Loss::Timeout)),
            rule("api get deployments *", refused),
        ]
        .concat(),
    };
    let director = &executor.proxy.director;
    director.begin(Masks::none(), plan);
    set(&objects, &names, "example/orders:2").await;
    all_serve(&world, &objects).await;
    let made = director.made();
    assert_eq!(made.len(), 2, "both happened: {made:?}");
    let (refused, trace) = (&made[1], director.trace());
    let (_, name) = refused.step.rsplit_once('/').unwrap();
    let early: Vec<_> = requests(&trace)
        .into_iter()
        .filter(|entry| entry.number > refused.number && entry.at < refused.at + 2_000)
        .filter(|entry| entry.step.ends_with(&format!("/{name}")))
        .collect();
    assert!(early.is_empty(), "{early:?}");
}
