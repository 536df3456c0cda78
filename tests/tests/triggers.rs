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
use signalbox_common::bus::rights::Role;
use signalbox_tests::fixtures::{app, minimal};
use signalbox_tests::objects::ready;
use signalbox_tests::{World, WorldOptions, eventually};

const SOON: Duration = Duration::from_secs(30);

struct Sender {
    client: async_nats::Client,
}

impl Sender {
    async fn connect(world: &World) -> Self {
        let tenant = Role::Trigger {
            tenant: "ci".to_owned(),
        };
        let client = world.nats(&tenant).await;
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
        self.store(subject, async_nats::HeaderMap::new(), &event)
            .await;
        answer_of(&mut answers).await
    }

    /// The same in binary mode: attributes as headers, the body is the data.
    async fn send_binary(&self, subject: &str, id: &str, time: &str, data: Value) -> Value {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.unwrap();
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", id),
            ("ce-source", "/ci"),
            ("ce-type", "dev.signalbox.trigger.v1"),
            ("ce-time", time),
            ("ce-replyto", &inbox),
            ("content-type", "application/json"),
        ] {
            headers.insert(name, value);
        }
        self.store(subject, headers, &data).await;
        answer_of(&mut answers).await
    }

    async fn store(&self, subject: &str, headers: async_nats::HeaderMap, body: &Value) {
        // One place a subject, free once the former trigger is answered and acknowledged: until then the
        // sender is told so by the stream.
        eventually("the stream takes the trigger", SOON, || async {
            let stored = self.client.request_with_headers(
                subject.to_owned(),
                headers.clone(),
                body.to_string().into(),
            );
            let stored: Value = serde_json::from_slice(&stored.await.unwrap().payload).unwrap();
            stored.get("error").map_or(Ok(()), |e| Err(e.to_string()))
        })
        .await;
    }
}

async fn answer_of(answers: &mut async_nats::Subscriber) -> Value {
    let answer = tokio::time::timeout(SOON, answers.next())
        .await
        .expect("an answer")
        .unwrap();
    serde_json::from_slice(&answer.payload).unwrap()
}

/// Asserts a result, and that its reason has the words `why`.
fn assert_answer(answer: &Value, result: &str, why: &str) {
    assert_eq!(answer.pointer("/result"), Some(&json!(result)), "{answer}");
    let reason = answer.pointer("/reason").and_then(Value::as_str);
    assert!(reason.is_some_and(|r| r.contains(why)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_changes_the_image_of_one_app_once() {
    let world = World::start("triggers", WorldOptions::PODS).await;
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
    assert_answer(&answer, "no-op", "nothing to change");
    let old = json!({"image": "example/orders:0"});
    let answer = sender
        .send(&subject, "build-16", "2026-01-01T00:00:00Z", old)
        .await;
    assert_answer(&answer, "no-op", "older than the last applied trigger");
    let app = objects.get("papp", "orders").await;
    assert_eq!(app.pointer("/spec/image"), Some(&json!("example/orders:2")));

    // Binary mode changes the same, and is held to the same time.
    let image = |number: u8| json!({"image": format!("example/orders:{number}")});
    let answer = sender
        .send_binary(&subject, "build-18", "2026-01-03T00:00:00Z", image(3))
        .await;
    assert_answer(&answer, "applied", "");
    assert_eq!(answer.pointer("/trigger"), Some(&json!("build-18")));
    let app = objects.get("papp", "orders").await;
    assert_eq!(app.pointer("/spec/image"), Some(&json!("example/orders:3")));
    eventually("Ready", SOON, || async {
        ready(&objects.get("papp", "orders").await)
    })
    .await;
    let answer = sender
        .send_binary(&subject, "build-15", "2026-01-02T23:59:59Z", image(1))
        .await;
    assert_answer(&answer, "no-op", "older than the last applied trigger");

    // What names nothing, or asks for nothing known, is refused with the reason.
    let of = |namespace: &str, name: &str, verb: &str| {
        format!("sb.trigger.ci.PortfolioApp.{namespace}.{name}.{verb}")
    };
    let here = objects.namespace.as_str();
    for (subject, data, why) in [
        (
            of(here, "nobody", "set-image"),
            image(4),
            format!("PortfolioApp/{here}/nobody does not exist"),
        ),
        (
            of("nowhere", "orders", "set-image"),
            image(4),
            "PortfolioApp/nowhere/orders does not exist".to_owned(),
        ),
        (
            of(here, "orders", "explode"),
            json!({}),
            "the verb explode is unknown".to_owned(),
        ),
        (
            subject.clone(),
            json!({"picture": "x"}),
            "set-image needs data.image".to_owned(),
        ),
    ] {
        let answer = sender
            .send(&subject, "odd", "2026-02-02T00:00:00Z", data)
            .await;
        assert_answer(&answer, "refused", &why);
    }
    let app = objects.get("papp", "orders").await;
    assert_eq!(app.pointer("/spec/image"), Some(&json!("example/orders:3")));
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
