//! Poison mixed with good work: whoever may publish sends what nobody can use, on every work stream, while forty apps
//! change. All apps settle, and each message is in DEAD with its reason.

use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use nkeys::KeyPair;
use serde_json::{Value, json};
use signalbox_common::bus::limits::MAX_MESSAGE;
use signalbox_common::bus::rights::Role;
use signalbox_common::record::REASON;
use signalbox_tests::figures::{figures, held_to, long_form};
use signalbox_tests::{Part, World, WorldOptions, eventually, fleet, signing};

use crate::PATIENCE;

const APPS: usize = 40;
/// How often a sender tries to get a message into a stream.
const INSISTS: usize = 200;
/// The p95 from a change to its newest generation, poison or not.
const BAR: Duration = Duration::from_secs(5);

/// Who sends where.
struct Poisoner {
    number: usize,
    client: async_nats::Client,
    /// None: what comes from outside is not signed.
    key: Option<KeyPair>,
    stream: &'static str,
    /// The subject up to the object's name, and what follows it.
    subject: (String, &'static str),
}

impl Poisoner {
    /// Sends so many; returns the subjects of those that the stream took.
    async fn send(&self, count: usize) -> Vec<String> {
        let mut taken = Vec::new();
        for number in 0..count {
            // Now and then in the way of an app.
            let name = match number % 6 {
                5 => fleet::name(number % APPS),
                _ => format!("ghost-{}-{number}", self.number),
            };
            let subject = format!("{}{name}{}", self.subject.0, self.subject.1);
            let (headers, body) = self.poison(number, &subject);
            // A place that is taken or a stream that is full is told to the sender, who insists.
            for _ in 0..INSISTS {
                let (headers, body) = (headers.clone(), body.clone());
                let sent = self
                    .client
                    .request_with_headers(subject.clone(), headers, body.into());
                let answer = serde_json::from_slice::<Value>(&sent.await.unwrap().payload);
                if answer.unwrap().get("error").is_none() {
                    taken.push(subject);
                    break;
                }
            }
        }
        taken
    }

    fn poison(&self, number: usize, subject: &str) -> (HeaderMap, Vec<u8>) {
        let text = match number % 5 {
            0 => "\u{0}{[".repeat(1 + number),
            1 => json!({"schema": 1, "filler": "x".repeat(MAX_MESSAGE)}).to_string(),
            2 => json!({"schema": 0, "number": number}).to_string(),
            _ => json!({"schema": 1, "number": number}).to_string(),
        };
        let body = text.into_bytes();
        let Some(key) = &self.key else {
            return (HeaderMap::new(), body);
        };
        let headers = match number % 5 {
            // Signed, but for another body.
            3 => signing::headers(key, subject, subject, b"another"),
            4 => HeaderMap::new(),
            _ => signing::headers(key, &format!("{subject}/{number}"), subject, &body),
        };
        (headers, body)
    }
}

async fn poisoners(world: &World, namespace: &str) -> Vec<Poisoner> {
    let mut all: Vec<Poisoner> = Vec::new();
    for (part, role, word, stream) in [
        (Part::Watcher, Role::Watcher, "event", "EVENTS"),
        (Part::Planner, Role::Planner, "plan", "PLANS"),
        (Part::Planner, Role::Planner, "outcome", "OUTCOMES"),
        (Part::Executor, Role::Executor, "outcome", "OUTCOMES"),
    ] {
        all.push(Poisoner {
            number: all.len(),
            client: world.nats(&role).await,
            key: Some(signing::key(world, part)),
            stream,
            subject: (format!("sb.{word}.suite.PortfolioApp.{namespace}."), ""),
        });
    }
    let tenant = "ci".to_owned();
    all.push(Poisoner {
        number: all.len(),
        client: world.nats(&Role::Trigger { tenant }).await,
        key: None,
        stream: "TRIGGERS",
        subject: (
            format!("sb.trigger.ci.PortfolioApp.{namespace}."),
            ".restart",
        ),
    });
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_among_good_messages_stops_nobody() {
    let count = if long_form() { 1_000 } else { 100 };
    let world = World::start("steady-poison", WorldOptions::BARE).await;
    let parts = world.parts();
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, APPS).await;
    fleet::settles(&world, &objects, PATIENCE).await;
    let poisoners = poisoners(&world, &objects.namespace).await;
    let sampler = world.bus().await.sample();

    let poisoning = futures::future::join_all(poisoners.iter().map(|one| one.send(count)));
    let good = async {
        let mut times = Vec::new();
        for number in 0..APPS {
            let begun = Instant::now();
            fleet::update(&objects, number, "among poison").await;
            eventually("the change is served", PATIENCE, || async {
                let app = objects.get("papp", &fleet::name(number)).await;
                if fleet::is_current(&app) {
                    Ok(())
                } else {
                    Err(app["status"].to_string())
                }
            })
            .await;
            times.push(begun.elapsed());
        }
        times
    };
    let (taken, times) = tokio::join!(poisoning, good);
    fleet::settles(&world, &objects, PATIENCE).await;
    let peak = sampler.finish().await;

    let streams = async_nats::jetstream::new(world.nats(&Role::Reader).await);
    let dead = streams.get_stream_no_info("DEAD").await.unwrap();
    for (poisoner, taken) in poisoners.iter().zip(&taken) {
        println!("{}: {} of {count} taken", poisoner.stream, taken.len());
        assert!(
            taken.len() * 5 >= count * 4,
            "most are taken: {}",
            taken.len()
        );
        for subject in taken {
            let grave = format!("sb.dead.{}.{subject}", poisoner.stream);
            let message = eventually(&format!("{grave} is there"), PATIENCE, || {
                dead.get_last_raw_message_by_subject(&grave)
            })
            .await;
            let reason = message.headers.get(REASON).expect("a reason").as_str();
            assert!(!reason.is_empty(), "{grave}");
        }
    }
    let p95 = figures("poison-good-served", &times);
    // Ghosts are no flights, but the streams are bounded all the same.
    assert!(peak.stream <= 50, "{peak:?}");
    assert!(p95 <= held_to(BAR), "{times:?}");
    for mut part in parts {
        assert!(!part.has_ended(), "{} has ended", part.instance);
    }
}
