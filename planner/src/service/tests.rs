//! The service's contract, on the bus in memory: what is stored where, and in which order.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use signalbox_common::bus::memory::MemoryBus;
use signalbox_common::bus::{Bus as _, Delivery, Message};
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::Kind;
use signalbox_common::metrics::Metrics;
use signalbox_common::record::{REASON, flight_message};
use signalbox_common::subject::Stream;
use signalbox_common::wire::planned;
use signalbox_common::wire::{Event, Observation, Outcome, OutcomeResult, Plan};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::desk::Desk;
use super::metrics::Counts;

fn key() -> ObjectKey {
    ObjectKey::new(Kind::DatabaseMigration, "team-a", "schema")
}

fn seen(cause: &serde_json::Value) -> Observation {
    let text = include_str!("../../tests/inputs/migration/fresh.json");
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["cause"] = cause.clone();
    serde_json::from_value(value).unwrap()
}

fn gone() -> Observation {
    Observation {
        object: None,
        ..seen(&json!({"type": "resync"}))
    }
}

fn desk(bus: &Arc<MemoryBus>) -> Desk {
    let counts = Counts::new(&Metrics::new("planner")).unwrap();
    Desk::new(
        bus.clone(),
        "planner/test".to_owned(),
        counts,
        CancellationToken::new(),
    )
}

async fn publish(bus: &MemoryBus, body: Vec<u8>) {
    let id = ReconcileId(Uuid::from_u128(7));
    let message = flight_message("test", Stream::Events, &key(), id, body).unwrap();
    bus.publish(message).await.unwrap();
}

async fn take(bus: &MemoryBus, body: Vec<u8>) -> Delivery {
    publish(bus, body).await;
    bus.fetch(Stream::Events, 1, Duration::from_secs(1))
        .await
        .unwrap()
        .remove(0)
}

fn event(seen: Observation) -> Vec<u8> {
    serde_json::to_vec(&Event::new(seen)).unwrap()
}

fn entries(bus: &MemoryBus) -> Vec<String> {
    let entry = |message: Message| {
        message
            .subject
            .split('.')
            .nth(3)
            .unwrap_or_default()
            .to_owned()
    };
    let mut entries: Vec<String> = bus
        .messages(Stream::Ledger)
        .into_iter()
        .map(entry)
        .collect();
    entries.sort();
    entries
}

fn outcomes(bus: &MemoryBus) -> Vec<OutcomeResult> {
    let read = |message: Message| {
        serde_json::from_slice::<Outcome>(&message.body)
            .unwrap()
            .result
    };
    bus.messages(Stream::Outcomes)
        .into_iter()
        .map(read)
        .collect()
}

#[tokio::test]
async fn a_plan_is_recorded_beside_its_event_and_published() {
    let bus = MemoryBus::new();
    let delivery = take(&bus, event(seen(&json!({"type": "timer"})))).await;
    desk(&bus).handle(delivery).await;
    assert_eq!(entries(&bus), ["planned"]);
    let plans = bus.messages(Stream::Plans);
    let both = bus.messages(Stream::Ledger).remove(0).body;
    let observed = event(seen(&json!({"type": "timer"})));
    let recorded = planned::split(&both);
    assert_eq!(recorded, Some((&observed[..], &plans[0].body[..])));
    let plan: Plan = serde_json::from_slice(&plans[0].body).unwrap();
    assert_eq!(plan.key, key());
    assert!(bus.messages(Stream::Events).is_empty(), "acknowledged");
    assert!(outcomes(&bus).is_empty());
}

#[tokio::test]
async fn event_and_plan_that_are_too_large_together_are_recorded_side_by_side() {
    let bus = MemoryBus::new();
    let delivery = take(&bus, event(seen(&json!({"type": "timer"})))).await;
    let large = |seen: &Observation| Plan {
        actor: "x".repeat(260_000),
        ..crate::plan(seen)
    };
    desk(&bus).handle_with(delivery, large).await;
    assert_eq!(entries(&bus), ["event", "plan"]);
    assert_eq!(bus.messages(Stream::Plans).len(), 1);
}

#[tokio::test]
async fn a_settled_resync_is_one_line() {
    let bus = MemoryBus::new();
    let delivery = take(&bus, event(gone())).await;
    desk(&bus).handle(delivery).await;
    assert_eq!(entries(&bus), ["settled"]);
    assert_eq!(outcomes(&bus), [OutcomeResult::Settled]);
    assert!(bus.messages(Stream::Plans).is_empty() && bus.messages(Stream::Events).is_empty());
}

#[tokio::test]
async fn poison_goes_to_dead_and_frees_its_place() {
    for body in [
        b"no json".to_vec(),
        br#"{"schema": 99}"#.to_vec(),
        br#"{"schema": 1}"#.to_vec(),
    ] {
        let bus = MemoryBus::new();
        let delivery = take(&bus, body.clone()).await;
        desk(&bus).handle(delivery).await;
        let dead = bus.messages(Stream::Dead);
        assert_eq!(dead[0].body, body);
        assert!(dead[0].headers.contains_key(REASON));
        assert!(matches!(
            outcomes(&bus).as_slice(),
            [OutcomeResult::Dead { .. }]
        ));
        assert!(bus.messages(Stream::Events).is_empty());
    }
}

#[tokio::test]
async fn the_sixth_delivery_is_dead() {
    let bus = MemoryBus::new();
    let mut delivery = take(&bus, event(gone())).await;
    delivery.delivered = 6;
    desk(&bus).handle(delivery).await;
    assert_eq!(bus.messages(Stream::Dead).len(), 1);
    assert!(matches!(
        outcomes(&bus).as_slice(),
        [OutcomeResult::Dead { .. }]
    ));
}

#[tokio::test]
async fn a_panic_is_unplannable_and_nothing_more() {
    let bus = MemoryBus::new();
    let delivery = take(&bus, event(gone())).await;
    desk(&bus)
        .handle_with(delivery, |_| panic!("a defect"))
        .await;
    let planner = crate::version().to_owned();
    assert_eq!(
        outcomes(&bus),
        [OutcomeResult::Unplannable {
            message: "a defect".to_owned(),
            planner
        }]
    );
    assert_eq!(entries(&bus), ["event", "outcome"]);
    assert!(bus.messages(Stream::Events).is_empty());
}

#[tokio::test]
async fn a_plan_that_is_too_large_is_unplannable() {
    let bus = MemoryBus::new();
    let delivery = take(&bus, event(gone())).await;
    let large = |seen: &Observation| Plan {
        actor: "x".repeat(300_000),
        ..crate::plan(seen)
    };
    desk(&bus).handle_with(delivery, large).await;
    assert!(matches!(
        outcomes(&bus).as_slice(),
        [OutcomeResult::Unplannable { .. }]
    ));
}

#[tokio::test]
async fn an_occupied_place_is_busy_after_a_while() {
    let bus = MemoryBus::new();
    let id = ReconcileId(Uuid::from_u128(1));
    let former = flight_message("test", Stream::Plans, &key(), id, b"{}".to_vec()).unwrap();
    bus.publish(former).await.unwrap();
    let delivery = take(&bus, event(seen(&json!({"type": "timer"})))).await;
    desk(&bus).handle(delivery).await;
    assert_eq!(outcomes(&bus), [OutcomeResult::Busy]);
    assert_eq!(bus.messages(Stream::Plans).len(), 1);
}

#[tokio::test]
async fn a_second_delivery_finds_its_own_plan_published() {
    let bus = MemoryBus::new();
    let body = event(seen(&json!({"type": "timer"})));
    let delivery = take(&bus, body.clone()).await;
    desk(&bus).handle(delivery).await;
    let mut again = take(&bus, body).await;
    again.delivered = 2;
    desk(&bus).handle(again).await;
    assert_eq!(bus.messages(Stream::Plans).len(), 1);
    assert!(
        outcomes(&bus).is_empty(),
        "the executor of the plan reports"
    );
    assert_eq!(entries(&bus), ["planned"], "recorded once");
}
