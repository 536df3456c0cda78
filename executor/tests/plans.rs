//! Plans on a real bus: one Outcome each, never executed twice, never stuck.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed step ends the test"
)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_common::bus::Message;
use signalbox_common::class::ErrorClass;
use signalbox_common::kinds::ChildKind;
use signalbox_common::subject::Stream;
use signalbox_common::wire::OutcomeResult;
use signalbox_common::wire::action::ApplyMode;
use signalbox_common::wire::outcome::ActionResult;
use signalbox_devcluster::Server;
use support::{Bench, NOBODY, apply, configured, done, failure, plan_subject};

fn create(app: &Value, name: &str) -> Vec<signalbox_common::wire::PlannedAction> {
    let map = configured(
        app,
        ChildKind::ConfigMap,
        name,
        &json!({"data": {"k": "1"}}),
    );
    vec![apply(ChildKind::ConfigMap, map, ApplyMode::Create)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_delivery_is_not_executed_and_bad_messages_end_in_dead() {
    let mut bench = Bench::start("plans").await;
    let app = bench.app("web").await;
    bench.end().await;

    // The first holder gives the plan up; the next one must not run it.
    let plan = bench.plan(&app, create(&app, "web"));
    bench.publish(&plan).await;
    let first = signalbox_common::bus::jetstream::JetStreamBus::connect(
        &bench.args,
        signalbox_common::bus::rights::Role::Executor,
    );
    let taken = first
        .await
        .unwrap()
        .fetch(Stream::Plans, 1, Duration::from_secs(5))
        .await
        .unwrap();
    taken.first().unwrap().acker.nak().await.unwrap();
    bench.begin();
    let outcome = bench.outcome().await;
    assert_eq!(outcome.result, OutcomeResult::Interrupted);
    assert_eq!(outcome.reconcile_id, plan.reconcile_id);
    assert!(bench.get("configmap", "web").await.is_none());

    // What can't be used ends in DEAD, with an Outcome that ends the flight.
    for body in ["{", r#"{"schema":99,"uid":"u"}"#, r#"{"schema":1}"#] {
        let message = Message {
            stream: Stream::Plans,
            subject: plan_subject(&app),
            headers: std::collections::BTreeMap::default(),
            body: body.as_bytes().to_vec(),
            msg_id: None,
        };
        bench.no_plans().await;
        bench.planner.publish(message).await.unwrap();
        let outcome = bench.outcome().await;
        assert!(
            matches!(outcome.result, OutcomeResult::Dead { .. }),
            "{body}: {outcome:?}"
        );
        assert_eq!(outcome.key, support::key(&app));
    }
    let mut lost = bench.plan(&app, create(&app, "web"));
    let elsewhere = lost.key.clone();
    "other".clone_into(&mut lost.key.name);
    let body = serde_json::to_vec(&lost).unwrap();
    let message = signalbox_common::record::flight_message(
        "test",
        Stream::Plans,
        &elsewhere,
        lost.reconcile_id,
        body,
    );
    bench.no_plans().await;
    bench.planner.publish(message.unwrap()).await.unwrap();
    assert!(matches!(
        bench.outcome().await.result,
        OutcomeResult::Dead { .. }
    ));

    // Actions without an order are refused, none is tried.
    let mut planned = create(&app, "web");
    planned[0].after = vec!["nothing".to_owned()];
    bench.no_plans().await;
    assert_eq!(
        failure(&bench.run(&app, planned).await).class,
        ErrorClass::Invalid
    );

    // After all that it still works.
    assert_eq!(
        done(&bench.run(&app, create(&app, "web")).await),
        [ActionResult::Done]
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_plans_run_side_by_side_and_the_bus_may_be_started_again() {
    let mut bench = Bench::start("many").await;
    let mut apps = Vec::new();
    for number in 0..20 {
        apps.push(bench.app(&format!("web-{number}")).await);
    }
    for app in &apps {
        let plan = bench.plan(app, create(app, &support::text(app, "/metadata/name")));
        bench.publish(&plan).await;
    }
    for _ in &apps {
        assert_eq!(done(&bench.outcome().await), [ActionResult::Done]);
    }
    bench.no_plans().await;
    let recorded = bench.reader.state(Stream::Ledger).await.unwrap().messages;
    assert_eq!(recorded, 20, "each outcome is in the ledger once");

    bench.cluster.stop_server(Server::Nats).await.unwrap();
    bench.cluster.start_server(Server::Nats).await.unwrap();
    bench.ensure_bus().await;
    let kept = bench.reader.state(Stream::Ledger).await.unwrap().messages;
    assert_eq!(kept, recorded, "what happened is in files");
    let plan = bench.plan(&apps[0], create(&apps[0], "again"));
    let body = serde_json::to_vec(&plan).unwrap();
    let message = signalbox_common::record::flight_message(
        "test",
        Stream::Plans,
        &plan.key,
        plan.reconcile_id,
        body,
    );
    while bench
        .planner
        .publish(message.clone().unwrap())
        .await
        .is_err()
    {}
    let outcome = loop {
        let fetched = bench
            .watcher
            .fetch(Stream::Outcomes, 1, Duration::from_secs(2))
            .await;
        if let Some(delivery) = fetched.unwrap_or_default().pop() {
            delivery.acker.ack().await.unwrap();
            break signalbox_common::wire::decode::<signalbox_common::wire::Outcome>(
                &delivery.body,
            );
        }
    };
    assert_eq!(outcome.unwrap().reconcile_id, plan.reconcile_id);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named() {
    let mut bench = Bench::start_as("rights", NOBODY, |_| {}).await;
    let app = bench.app("web").await;
    let outcome = bench.run(&app, create(&app, "web")).await;
    let failure = failure(&outcome);
    assert_eq!(failure.class, ErrorClass::Forbidden);
    assert!(
        failure
            .message
            .starts_with("failed to patch configmaps web in namespace default"),
        "{}",
        failure.message
    );
    bench.end().await;
}
