//! A bus that dies, hangs or comes back empty: nothing waits for ever, nothing is delivered to nobody.
#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use server::NatsServer;
use signalbox_common::bus::ensure::{Change, EnsureArgs, Storage, ensure, keep};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::limits::LOST_AFTER;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{Bus as _, BusError, Message, PublishError, heartbeat};
use signalbox_common::subject::Stream;
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(2);

async fn start(name: &str) -> (NatsServer, Arc<JetStreamBus>) {
    start_with(name, EnsureArgs::default()).await
}

async fn start_with(name: &str, args: EnsureArgs) -> (NatsServer, Arc<JetStreamBus>) {
    let server = NatsServer::start(name, "").await;
    let bus = JetStreamBus::open(&server.url(), None, &Role::Watcher, name)
        .await
        .unwrap();
    ensure(&bus, &args).await.unwrap();
    (server, bus)
}

fn message(stream: Stream, name: &str) -> Message {
    let subject = stream
        .subjects()
        .replace('>', &format!("c.PortfolioApp.team.{name}"));
    Message {
        stream,
        subject,
        headers: BTreeMap::new(),
        body: b"{}".to_vec(),
        msg_id: None,
    }
}

/// Nothing hangs: every call ends in time, and says that the bus is away.
async fn all_calls_end(bus: &JetStreamBus) {
    let begun = Instant::now();
    let (sent, taken, state) = tokio::join!(
        bus.publish(message(Stream::Events, "during")),
        bus.fetch(Stream::Plans, 5, SOON),
        bus.state(Stream::Events),
    );
    assert!(
        begun.elapsed() < SOON * 2 + SOON / 2,
        "{:?}",
        begun.elapsed()
    );
    assert!(matches!(sent, Err(PublishError::Unknown(..))), "{sent:?}");
    assert!(matches!(taken.err(), Some(BusError::Unavailable(..))));
    assert!(matches!(state, Err(BusError::Unavailable(..))), "{state:?}");
}

/// The same handle works again; returns how long it took.
async fn works_again(bus: &JetStreamBus, name: &str) -> Duration {
    let begun = Instant::now();
    while let Err(error) = bus.publish(message(Stream::Plans, name)).await {
        assert!(begun.elapsed() < SOON * 5, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The stream is back before its consumer is.
    let taken = loop {
        match bus.fetch(Stream::Plans, 1, SOON).await {
            Ok(taken) if !taken.is_empty() => break taken,
            other => assert!(begun.elapsed() < SOON * 5, "{:?}", other.err()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(taken.len(), 1);
    taken.first().unwrap().acker.ack().await.unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_ends_every_call_and_a_started_one_serves_again() {
    let in_files = EnsureArgs {
        storage: Storage::File,
        ..EnsureArgs::default()
    };
    let (mut server, bus) = start_with("killed", in_files).await;
    bus.publish(message(Stream::Events, "before"))
        .await
        .unwrap();
    let before = bus.state(Stream::Events).await.unwrap();
    bus.publish(message(Stream::Plans, "held")).await.unwrap();
    let delivery = bus.fetch(Stream::Plans, 1, SOON).await.unwrap().remove(0);
    let hold = heartbeat::hold(delivery.acker.clone());

    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.fetch(Stream::Outcomes, 5, SOON * 30).await }
    });
    bus.state(Stream::Outcomes).await.unwrap();
    let begun = Instant::now();
    server.kill();
    assert!(
        waiting.await.unwrap().is_err(),
        "a waiting fetch notices the loss"
    );
    assert!(begun.elapsed() < SOON * 2, "{:?}", begun.elapsed());
    all_calls_end(&bus).await;
    hold.lost().cancelled().await;
    assert!(begun.elapsed() < LOST_AFTER + SOON, "{:?}", begun.elapsed());
    assert!(hold.is_lost());

    server.resume();
    works_again(&bus, "after").await;
    let after = bus.state(Stream::Events).await.unwrap();
    assert_eq!(
        after, before,
        "nothing lost, and nothing that nobody waited for is stored"
    );
}

/// Flights are in memory: they are gone with the server, and their streams come back as soon as it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_started_server_has_lost_its_flights_and_nothing_else() {
    let (mut server, bus) = start("flights").await;
    for stream in Stream::ALL {
        bus.publish(message(stream, "before")).await.unwrap();
    }
    let before = bus.state(Stream::Events).await.unwrap();
    let end = CancellationToken::new();
    let keeping = tokio::spawn({
        let (bus, end) = (bus.clone(), end.clone());
        async move { keep(&bus, &EnsureArgs::default(), SOON * 60, end).await }
    });
    server.kill();
    server.resume();
    // By the connection that is back: the next look of the keeper is two minutes away.
    works_again(&bus, "after").await;
    for stream in Stream::ALL {
        let in_memory = Stream::FLIGHTS.contains(&stream);
        let left = u64::from(!in_memory);
        let begun = Instant::now();
        loop {
            let state = bus.state(stream).await;
            if state.as_ref().is_ok_and(|state| state.messages == left) {
                break;
            }
            let name = stream.name();
            assert!(begun.elapsed() < SOON * 5, "{name}: {state:?}");
        }
    }
    let after = bus.state(Stream::Events).await.unwrap();
    assert!(after.created != before.created, "the loss shows: {after:?}");
    end.cancel();
    keeping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_ends_every_call() {
    let (server, bus) = start("silent").await;
    server.hold_still();
    all_calls_end(&bus).await;
    server.go_on();
    works_again(&bus, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_bus_comes_back_and_the_loss_shows() {
    let (mut server, bus) = start("wiped").await;
    bus.publish(message(Stream::Events, "lost")).await.unwrap();
    let before = bus.state(Stream::Events).await.unwrap();
    server.kill();
    server.resume_empty();
    let begun = Instant::now();
    let gone = loop {
        match bus.state(Stream::Events).await {
            Err(BusError::Unavailable(..)) => assert!(begun.elapsed() < SOON * 5),
            other => break other,
        }
    };
    assert_eq!(gone, Err(BusError::Missing("EVENTS".to_owned())));
    let gone = bus.fetch(Stream::Events, 1, SOON).await.err();
    assert!(matches!(gone, Some(BusError::Missing(_))), "{gone:?}");

    let end = CancellationToken::new();
    let keeping = tokio::spawn({
        let (bus, end) = (bus.clone(), end.clone());
        async move {
            keep(
                &bus,
                &EnsureArgs::default(),
                Duration::from_millis(100),
                end,
            )
            .await;
        }
    });
    works_again(&bus, "after").await;
    let after = bus.state(Stream::Events).await.unwrap();
    assert!(after.created != before.created && after.last_sequence < before.last_sequence);
    end.cancel();
    keeping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ensuring_again_changes_nothing_and_keeps_what_is_higher() {
    let (_server, bus) = start("ensured").await;
    assert_eq!(ensure(&bus, &EnsureArgs::default()).await.unwrap(), []);
    let context = async_nats::jetstream::new(bus.client());
    let stream = context.get_stream("EVENTS").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_messages = 80;
    config.max_messages_per_subject = 2;
    context.update_stream(config).await.unwrap();
    let changes = ensure(&bus, &EnsureArgs::default()).await.unwrap();
    let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "EVENTS: left max_msgs at 80, not 50",
            "EVENTS: updated max_msgs_per_subject"
        ]
    );
    let lower = EnsureArgs {
        lower_limits: true,
        ..EnsureArgs::default()
    };
    let changes = ensure(&bus, &lower).await.unwrap();
    assert!(
        matches!(changes.as_slice(), [Change::Updated { .. }]),
        "{changes:?}"
    );
    assert_eq!(ensure(&bus, &EnsureArgs::default()).await.unwrap(), []);
}

const OBJECTS: usize = 400;
const TAKERS: usize = 4;

/// Many takers at once: each message is delivered once, and none to a request that has ended.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_delivered_to_nobody() {
    let (server, bus) = start("takers").await;
    let done = CancellationToken::new();
    let takers = (0..TAKERS).map(|number| {
        let (url, done) = (server.url(), done.clone());
        tokio::spawn(async move {
            let name = number.to_string();
            let bus = JetStreamBus::open(&url, None, &Role::Executor, &name)
                .await
                .unwrap();
            let mut taken = Vec::new();
            while !done.is_cancelled() {
                for delivery in bus.fetch(Stream::Plans, 10, SOON / 8).await.unwrap() {
                    delivery.acker.ack().await.unwrap();
                    taken.push((delivery.sequence, delivery.delivered));
                }
            }
            taken
        })
    });
    let takers: Vec<_> = takers.collect();
    let begun = Instant::now();
    for number in 0..OBJECTS {
        let message = message(Stream::Plans, &number.to_string());
        while let Err(error) = bus.publish(message.clone()).await {
            assert!(matches!(error, PublishError::Full(_)), "{error}");
            tokio::task::yield_now().await;
        }
    }
    while bus.state(Stream::Plans).await.unwrap().messages > 0 {
        assert!(begun.elapsed() < SOON * 10);
    }
    done.cancel();
    let mut taken: Vec<(u64, u64)> = join_all(takers)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    taken.sort_unstable();
    let expected: Vec<(u64, u64)> = (1..=OBJECTS as u64).map(|sequence| (sequence, 1)).collect();
    assert_eq!(taken, expected);
}
