//! The bus is no authority: who may write to it without a part's key is not believed, nor who says again what a
//! part has said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a failed step ends a suite; a scenario is told in one piece"
)]

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::stream::Stream as Stored;
use serde_json::Value;
use signalbox_common::bus::rights::Role;
use signalbox_common::record::REASON;
use signalbox_common::wire::planned::{self, PLANNED};
use signalbox_tests::fixtures::minimal;
use signalbox_tests::{Part, World, WorldOptions, eventually, fleet, signing};

const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until DEAD's newest message of `subject` tells `why`.
async fn refused(dead: &Stored<()>, subject: &str, why: &str) {
    let grave = format!("sb.dead.PLANS.{subject}");
    eventually(&format!("DEAD tells: {why}"), PATIENCE, || async {
        let message = dead.get_last_raw_message_by_subject(&grave).await;
        let message = message.map_err(|error| error.to_string())?;
        let reason = message.headers.get(REASON).expect("a reason").to_string();
        if reason.contains(why) {
            Ok(())
        } else {
            Err(reason)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_or_replayed_plan_is_refused_counted_and_written_nowhere() {
    let world = World::start("forged", WorldOptions::BARE).await;
    let parts = world.parts();
    let executor = parts.iter().find(|p| p.part == Part::Executor).unwrap();
    let objects = world.namespace(&[]).await;
    let namespace = objects.namespace.as_str();
    let app = minimal(namespace, "app-0", "example/orders:1");
    world.apply(&app).await;
    fleet::settles(&world, &objects, PATIENCE).await;

    // What the planner said is in LEDGER, for whoever may read it.
    let streams = async_nats::jetstream::new(world.nats(&Role::Reader).await);
    let [dead, ledger] = ["DEAD", "LEDGER"].map(|name| streams.get_stream_no_info(name));
    let (dead, ledger) = (dead.await.unwrap(), ledger.await.unwrap());
    let said = format!("sb.ledger.suite.{PLANNED}.PortfolioApp.{namespace}.app-0");
    let said = ledger.get_last_raw_message_by_subject(&said).await.unwrap();
    let (_, plan) = planned::split(&said.payload).unwrap();
    let plan = String::from_utf8(plan.to_vec()).unwrap();

    let planner = world.nats(&Role::Planner).await;
    let send = async |subject: &str, headers: &HeaderMap, body: &str| {
        let body = body.to_owned().into();
        let stored = planner.request_with_headers(subject.to_owned(), headers.clone(), body);
        let stored: Value = serde_json::from_slice(&stored.await.unwrap().payload).unwrap();
        assert_eq!(stored.get("error"), None, "the stream takes it: {stored}");
    };
    let (audit, mark) = (world.audit(), world.audit().mark());
    let subject = format!("sb.plan.suite.PortfolioApp.{namespace}.app-0");
    let other = format!("sb.plan.suite.PortfolioApp.{namespace}.app-1");
    let sign = |part: Part| {
        let key = signing::key(&world, part);
        signing::headers(&key, "flight/plan", &subject, plan.as_bytes())
    };
    let genuine = sign(Part::Planner);
    let changed = plan.replace("namespace", "namespaces");
    for (headers, subject, body, why, label) in [
        (
            HeaderMap::new(),
            &subject,
            &plan,
            "it is not signed",
            "unsigned",
        ),
        (
            sign(Part::Executor),
            &subject,
            &plan,
            "is not trusted",
            "untrusted",
        ),
        (
            genuine.clone(),
            &subject,
            &changed,
            "does not hold",
            "forged",
        ),
        (genuine.clone(), &other, &plan, "does not hold", "forged"),
    ] {
        send(subject, &headers, body).await;
        refused(&dead, subject, why).await;
        let (_, metrics) = executor.answer("/metrics").await;
        let counted = "signalbox_bus_refused_messages_total";
        let counted = format!("{counted}{{reason=\"{label}\",stream=\"PLANS\"}}");
        assert!(metrics.contains(&counted), "{counted}\n{metrics}");
    }
    // Believed once, and yet without an effect: the API server has moved on from what it rests on. Said again, it
    // is not even tried.
    send(&subject, &genuine, &plan).await;
    fleet::settles(&world, &objects, PATIENCE).await;
    send(&subject, &genuine, &plan).await;
    refused(&dead, &subject, "it was taken before").await;
    fleet::settles(&world, &objects, PATIENCE).await;
    let done = audit.done_in(mark, namespace);
    assert_eq!(done, Vec::<String>::new());

    // Nobody is the worse for it.
    fleet::update(&objects, 0, "next").await;
    fleet::settles(&world, &objects, PATIENCE).await;
    assert!(!audit.done_in(mark, namespace).is_empty());
}
