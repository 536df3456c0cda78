//! Triggers from outside, sent as anybody with a NATS client would; and the answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::ready;
use signalbox_tests::{World, WorldOptions, eventually};

const SOON: Duration = Duration::from_secs(30);

struct Sender {
    client: async_nats::Client,
}

impl Sender {
    async fn connect(world: &World) -> Self {
        let seed = std::fs::read_to_string(world.seed("trigger")).unwrap();
        let client = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix("_INBOX_trigger.ci")
            .connect(world.cluster.nats_url().unwrap())
            .await
            .unwrap();
        Self { client }
    }

    /// Sends a structured `CloudEvent` and returns the answer.
    async fn send(&self, subject: &str, id: &str, time: &str, data: Value) -> Value {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let event = json!({
            "specversion": "1.0", "id": id, "source": "/ci", "type": "dev.signalbox.trigger.v1",
            "time": time, "datacontenttype": "application/json", "replyto": inbox, "data": data,
        });
        // One place a subject, free once the former trigger is answered and acknowledged: until then the
        // sender is told so by the stream.
        eventually("the stream takes the trigger", SOON, || async {
            let stored = self
                .client
                .request(subject.to_owned(), event.to_string().into());
            let stored: Value = serde_json::from_slice(&stored.await.unwrap().payload).unwrap();
            stored.get("error").map_or(Ok(()), |e| Err(e.to_string()))
        })
        .await;
        let answer = tokio::time::timeout(SOON, answers.next())
            .await
            .expect("an answer")
            .unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_changes_the_image_of_one_app_once() {
    let world = World::start(
        "triggers",
        WorldOptions {
            controllers: true,
            postgres: false,
        },
    )
    .await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let lines = "  rollout: { drainSeconds: 0 }";
    world
        .apply(&app(
            &objects.namespace,
            "orders",
            "example/orders:1",
            lines,
        ))
        .await;
    world
        .apply(&minimal(&objects.namespace, "billing", "example/billing:1"))
        .await;
    eventually("Ready", SOON, || async {
        ready(&objects.get("papp", "orders").await)
    })
    .await;
    let sender = Sender::connect(&world).await;
    let subject = format!(
        "sb.trigger.ci.PortfolioApp.{}.orders.set-image",
        objects.namespace
    );
    let image = json!({"image": "example/orders:2", "reason": "build 17"});

    let answer = sender
        .send(&subject, "build-17", "2026-01-02T03:04:05Z", image.clone())
        .await;
    assert_eq!(
        answer.pointer("/result"),
        Some(&json!("applied")),
        "{answer}"
    );
    let app = objects.get("papp", "orders").await;
    assert_eq!(app.pointer("/spec/image"), Some(&json!("example/orders:2")));
    let other = objects.get("papp", "billing").await;
    assert_eq!(
        other.pointer("/spec/image"),
        Some(&json!("example/billing:1"))
    );
    eventually("Ready", SOON, || async {
        ready(&objects.get("papp", "orders").await)
    })
    .await;

    // Repeated, and older than what was applied: recorded no-ops.
    let answer = sender
        .send(&subject, "build-17", "2026-01-02T03:04:05Z", image)
        .await;
    assert_eq!(answer.pointer("/result"), Some(&json!("no-op")), "{answer}");
    let old = json!({"image": "example/orders:0"});
    let answer = sender
        .send(&subject, "build-16", "2026-01-01T00:00:00Z", old)
        .await;
    assert_ne!(
        answer.pointer("/result"),
        Some(&json!("applied")),
        "{answer}"
    );
    let app = objects.get("papp", "orders").await;
    assert_eq!(app.pointer("/spec/image"), Some(&json!("example/orders:2")));

    // What names nothing, or asks for nothing known, is refused with the reason.
    for (subject, data) in [
        (
            format!(
                "sb.trigger.ci.PortfolioApp.{}.nobody.set-image",
                objects.namespace
            ),
            json!({"image": "x"}),
        ),
        (
            format!(
                "sb.trigger.ci.PortfolioApp.{}.orders.explode",
                objects.namespace
            ),
            json!({}),
        ),
        (subject.clone(), json!({"picture": "x"})),
    ] {
        let answer = sender
            .send(&subject, "odd", "2026-02-02T00:00:00Z", data)
            .await;
        assert_eq!(
            answer.pointer("/result"),
            Some(&json!("refused")),
            "{answer}"
        );
        assert!(
            answer
                .pointer("/reason")
                .and_then(Value::as_str)
                .is_some_and(|r| r.len() > 10),
            "{answer}"
        );
    }
    let bus = world.bus().await;
    eventually("no place is held", SOON, || async {
        let open = bus.open().await;
        if open == 0 {
            Ok(())
        } else {
            Err(open.to_string())
        }
    })
    .await;
}
