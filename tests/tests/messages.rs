//! Messages that nobody can use: each ends in DEAD with the reason, frees its place and stops nobody.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step ends a suite"
)]

use std::time::Duration;

use async_nats::jetstream::stream::Stream as Stored;
use nkeys::KeyPair;
use serde_json::{Value, json};
use signalbox_common::bus::limits::{MAX_HEADERS, MAX_MESSAGE};
use signalbox_common::bus::rights::Role;
use signalbox_common::record::REASON;
use signalbox_tests::fixtures::minimal;
use signalbox_tests::objects::condition;
use signalbox_tests::{Part, World, WorldOptions, eventually, signing};

const PATIENCE: Duration = Duration::from_mins(2);

/// Sends to a stream as the part would that holds this key, and returns what the stream answers.
async fn send_signed(
    client: &async_nats::Client,
    key: &KeyPair,
    subject: &str,
    body: String,
) -> Value {
    let headers = signing::headers(key, subject, subject, body.as_bytes());
    let answer = client.request_with_headers(subject.to_owned(), headers, body.into());
    serde_json::from_slice(&answer.await.unwrap().payload).unwrap()
}

/// Sends to a stream as anybody would, and returns what the stream answers.
async fn send(client: &async_nats::Client, subject: &str, body: String) -> Value {
    let answer = client.request(subject.to_owned(), body.into()).await;
    serde_json::from_slice(&answer.unwrap().payload).unwrap()
}

/// Waits until DEAD holds the message of `original`, and returns its reason and body.
async fn buried(dead: &Stored<()>, stream: &str, original: &str) -> (String, Vec<u8>) {
    let subject = format!("sb.dead.{stream}.{original}");
    let message = eventually(&format!("{subject} is there"), PATIENCE, || {
        dead.get_last_raw_message_by_subject(&subject)
    })
    .await;
    let reason = message.headers.get(REASON).expect("a reason");
    (reason.to_string(), message.payload.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_nobody_can_use_end_in_dead_and_free_their_place() {
    let world = World::start("messages", WorldOptions::default()).await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let namespace = objects.namespace.as_str();
    let reader = world.nats(&Role::Reader).await;
    let streams = async_nats::jetstream::new(reader);
    let dead = streams.get_stream_no_info("DEAD").await.unwrap();
    let bus = world.bus().await;

    let cases = [
        ("not json".to_owned(), "no message: expected"),
        ("{}".to_owned(), "no message: missing field `schema`"),
        (
            r#"{"schema":99}"#.to_owned(),
            "schema 99 is unknown to a reader of 1",
        ),
        (
            r#"{"schema":0}"#.to_owned(),
            "schema 0 is unknown to a reader of 1",
        ),
        (r#"{"schema":1}"#.to_owned(), "schema 1: missing field"),
    ];
    for (part, role, word, stream) in [
        (Part::Watcher, Role::Watcher, "event", "EVENTS"),
        (Part::Planner, Role::Planner, "plan", "PLANS"),
        (Part::Executor, Role::Executor, "outcome", "OUTCOMES"),
    ] {
        let key = signing::key(&world, part);
        let client = world.nats(&role).await;
        for (number, (body, why)) in cases.iter().enumerate() {
            let subject = format!("sb.{word}.suite.PortfolioApp.{namespace}.ghost-{number}");
            let answer = send_signed(&client, &key, &subject, body.clone()).await;
            assert_eq!(answer.get("error"), None, "{stream} takes case {number}");
            let (reason, kept) = buried(&dead, stream, &subject).await;
            assert!(reason.contains(why), "{stream}, case {number}: {reason}");
            assert!(kept == body.as_bytes(), "{stream}, case {number}: the body");
        }
        // What is a little too large is taken by the stream, not by its reader; DEAD keeps what fits.
        let body = json!({"schema": 1, "filler": "x".repeat(MAX_MESSAGE)}).to_string();
        let subject = format!("sb.{word}.suite.PortfolioApp.{namespace}.large");
        let answer = send_signed(&client, &key, &subject, body.clone()).await;
        assert_eq!(answer.get("error"), None, "{stream} takes it");
        let (reason, kept) = buried(&dead, stream, &subject).await;
        assert!(reason.contains("more than the limit of 262144"), "{reason}");
        assert!(body.as_bytes().starts_with(&kept) && kept.len() == MAX_MESSAGE);
        // What is larger still is refused to its sender: nobody takes it for stored.
        let subject = format!("sb.{word}.suite.PortfolioApp.{namespace}.giant");
        let body = "x".repeat(MAX_MESSAGE + MAX_HEADERS + 1);
        let answer = send_signed(&client, &key, &subject, body).await;
        assert_eq!(
            answer.pointer("/error/description"),
            Some(&json!("message size exceeds maximum allowed")),
            "{stream}: {answer}"
        );
    }

    // From outside, too.
    let tenant = "ci".to_owned();
    let sender = world.nats(&Role::Trigger { tenant }).await;
    for (number, (body, why)) in [
        ("not json", "the body is no JSON"),
        ("{}", "the CloudEvent has no time"),
    ]
    .into_iter()
    .enumerate()
    {
        let subject = format!("sb.trigger.ci.PortfolioApp.{namespace}.ghost-{number}.restart");
        let answer = send(&sender, &subject, body.to_owned()).await;
        assert_eq!(answer.get("error"), None, "{answer}");
        let (reason, kept) = buried(&dead, "TRIGGERS", &subject).await;
        assert!(reason.contains(why), "{reason}");
        assert_eq!(kept, body.as_bytes());
        // Its place is free: the stream takes the next one for the subject.
        eventually("the place is free", PATIENCE, || async {
            let answer = send(&sender, &subject, body.to_owned()).await;
            answer
                .get("error")
                .map_or(Ok(()), |error| Err(error.to_string()))
        })
        .await;
    }

    eventually("every place is free", PATIENCE, || bus.is_free()).await;
    let apps: Vec<_> = (0..5)
        .map(|n| minimal(namespace, &format!("app-{n}"), "example/orders:1"))
        .collect();
    world.apply(&apps.join("---")).await;
    eventually("the others go on", PATIENCE, || async {
        let apps = objects.list("papp").await;
        let served = apps.iter().filter(|app| {
            app.pointer("/status/observedGeneration") == app.pointer("/metadata/generation")
                && condition(app, "Stalled") != Some("True")
        });
        match served.count() {
            5 => Ok(()),
            some => Err(format!("{some} of 5")),
        }
    })
    .await;
}
