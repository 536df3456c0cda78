//! What each role may do works on a real server, and what it must not do is refused.
#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use server::NatsServer;
use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::{Role, new_identity, server_config};
use signalbox_common::bus::{Bus as _, BusError, Message, PublishError};
use signalbox_common::config::CommonArgs;
use signalbox_common::subject::Stream;

const SOON: Duration = Duration::from_secs(2);

struct Bus {
    server: NatsServer,
    seeds: Vec<(Role, String)>,
}

impl Bus {
    async fn start() -> Self {
        let tenants = ["ci", "other"].map(|tenant| Role::Trigger {
            tenant: tenant.to_owned(),
        });
        let (mut users, mut seeds) = (Vec::new(), Vec::new());
        for role in Role::OWN.into_iter().chain(tenants) {
            let (seed, public) = new_identity().unwrap();
            users.push((role.clone(), public));
            seeds.push((role, seed));
        }
        let server = NatsServer::start("rights", &server_config(&users)).await;
        Self { server, seeds }
    }

    async fn connect(&self, role: Role) -> Arc<JetStreamBus> {
        let seed = self
            .seeds
            .iter()
            .find(|(known, _)| *known == role)
            .unwrap()
            .1
            .clone();
        JetStreamBus::open(&self.server.url(), Some(seed), &role, "test")
            .await
            .unwrap()
    }
}

fn trigger(tenant: &str) -> Role {
    Role::Trigger {
        tenant: tenant.to_owned(),
    }
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

async fn may_publish(bus: &JetStreamBus, streams: &[Stream], name: &str) {
    for stream in streams {
        bus.publish(message(*stream, name)).await.unwrap();
    }
}

async fn may_not_publish(bus: &JetStreamBus, streams: &[Stream]) {
    for stream in streams {
        let message = message(*stream, "no");
        let refused = Err(PublishError::Forbidden(message.subject.clone()));
        assert_eq!(bus.publish(message).await, refused);
    }
}

async fn may_take(bus: &JetStreamBus, stream: Stream) {
    let taken = bus.fetch(stream, 5, SOON).await.unwrap();
    assert_eq!(taken.len(), 1, "{}", stream.name());
    for delivery in taken {
        delivery.acker.in_progress().await.unwrap();
        delivery.acker.ack().await.unwrap();
    }
}

async fn may_not_take(bus: &JetStreamBus, streams: &[Stream]) {
    for stream in streams {
        let error = bus.fetch(*stream, 1, SOON).await.err().unwrap();
        assert!(
            matches!(error, BusError::Forbidden(_)),
            "{}: {error}",
            stream.name()
        );
    }
}

async fn may_not_see(bus: &JetStreamBus, streams: &[Stream]) {
    for stream in streams {
        let error = bus.state(*stream).await.unwrap_err();
        assert!(
            matches!(error, BusError::Forbidden(_)),
            "{}: {error}",
            stream.name()
        );
    }
}

async fn may_not_ensure(bus: &JetStreamBus) {
    let error = ensure(bus, &EnsureArgs::default()).await.unwrap_err();
    assert!(matches!(error, BusError::Forbidden(_)), "{error}");
}

/// Sends straight to the server what no part ever sends; nobody answers what is refused.
async fn is_refused(bus: &JetStreamBus, subject: &str, body: &'static str) {
    let answer = bus.client().request(subject.to_owned(), body.into()).await;
    assert!(answer.is_err(), "{subject}: {answer:?}");
}

async fn watcher(bus: &Bus, tenant: &JetStreamBus) {
    let watcher = bus.connect(Role::Watcher).await;
    may_publish(
        &watcher,
        &[Stream::Events, Stream::Ledger, Stream::Dead],
        "w",
    )
    .await;
    for stream in Stream::FLIGHTS {
        watcher.subjects(stream).await.unwrap();
        watcher.state(stream).await.unwrap();
    }
    let client = tenant.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    // The refusal is a round trip: the server knows the subscription by now.
    may_not_see(tenant, &[Stream::Events]).await;
    watcher.answer(inbox, b"applied".to_vec()).await.unwrap();
    let answer = tokio::time::timeout(SOON, answers.next()).await;
    assert_eq!(&*answer.unwrap().unwrap().payload, b"applied");

    may_not_publish(
        &watcher,
        &[Stream::Plans, Stream::Outcomes, Stream::Triggers],
    )
    .await;
    may_not_take(&watcher, &[Stream::Events, Stream::Plans]).await;
    may_not_see(&watcher, &[Stream::Ledger, Stream::Triggers]).await;
    may_not_ensure(&watcher).await;
    let planner = bus.connect(Role::Planner).await;
    let mut foreign = planner
        .client()
        .subscribe("_INBOX_planner.x")
        .await
        .unwrap();
    may_not_see(&planner, &[Stream::Events]).await;
    watcher
        .answer("_INBOX_planner.x".to_owned(), Vec::new())
        .await
        .unwrap();
    watcher.state(Stream::Events).await.unwrap();
    assert!(
        tokio::time::timeout(SOON / 4, foreign.next())
            .await
            .is_err()
    );
}

async fn planner(bus: &Bus) {
    let planner = bus.connect(Role::Planner).await;
    may_take(&planner, Stream::Events).await;
    let records = [
        Stream::Plans,
        Stream::Outcomes,
        Stream::Ledger,
        Stream::Dead,
    ];
    may_publish(&planner, &records, "p").await;
    may_not_publish(&planner, &[Stream::Events, Stream::Triggers]).await;
    may_not_take(
        &planner,
        &[Stream::Plans, Stream::Outcomes, Stream::Triggers],
    )
    .await;
    may_not_see(&planner, &[Stream::Events]).await;
    may_not_ensure(&planner).await;
}

async fn executor(bus: &Bus) {
    let executor = bus.connect(Role::Executor).await;
    may_take(&executor, Stream::Plans).await;
    may_publish(&executor, &[Stream::Ledger, Stream::Dead], "x").await;
    may_not_publish(
        &executor,
        &[Stream::Events, Stream::Plans, Stream::Triggers],
    )
    .await;
    may_not_take(&executor, &[Stream::Events, Stream::Outcomes]).await;
    may_not_ensure(&executor).await;
    // The planner's Outcome waits for the watcher.
    may_take(&*bus.connect(Role::Watcher).await, Stream::Outcomes).await;
    may_publish(&executor, &[Stream::Outcomes], "x").await;
}

async fn reader(bus: &Bus) {
    let reader = bus.connect(Role::Reader).await;
    for stream in Stream::ALL {
        reader.state(stream).await.unwrap();
    }
    let context = async_nats::jetstream::new(reader.client());
    let ledger = context.get_stream(Stream::Ledger.name()).await.unwrap();
    let config = async_nats::jetstream::consumer::pull::OrderedConfig::default();
    let mut entries = ledger
        .create_consumer(config)
        .await
        .unwrap()
        .messages()
        .await
        .unwrap();
    let entry = tokio::time::timeout(SOON, entries.next()).await.unwrap();
    let entry = entry.unwrap().unwrap();
    assert_eq!(entry.subject.as_str(), "sb.ledger.c.PortfolioApp.team.w");

    may_not_publish(&reader, &[Stream::Events, Stream::Ledger, Stream::Dead]).await;
    may_not_take(&reader, &[Stream::Events, Stream::Plans, Stream::Outcomes]).await;
    is_refused(&reader, "$JS.API.STREAM.PURGE.LEDGER", "").await;
    may_not_ensure(&reader).await;
}

async fn ensuring(bus: &Bus) {
    let ensuring = bus.connect(Role::Ensure).await;
    assert_eq!(ensure(&ensuring, &EnsureArgs::default()).await.unwrap(), []);
    may_not_publish(&ensuring, &[Stream::Events, Stream::Plans, Stream::Ledger]).await;
    may_not_take(&ensuring, &[Stream::Plans]).await;
    is_refused(&ensuring, "$JS.API.STREAM.DELETE.EVENTS", "").await;
    is_refused(&ensuring, "$JS.API.STREAM.PURGE.EVENTS", "").await;
    ensuring.state(Stream::Events).await.unwrap();
}

async fn tenant(bus: &Bus, tenant: &JetStreamBus) {
    let own = Message {
        subject: "sb.trigger.ci.a".to_owned(),
        ..message(Stream::Triggers, "t")
    };
    tenant.publish(own.clone()).await.unwrap();
    let occupied = Err(PublishError::Occupied(own.subject.clone()));
    assert_eq!(
        tenant.publish(own).await,
        occupied,
        "a publisher sees the refusal"
    );
    may_take(&*bus.connect(Role::Watcher).await, Stream::Triggers).await;

    let others = message(Stream::Triggers, "t");
    let subject = "sb.trigger.other.a".to_owned();
    let refused = Err(PublishError::Forbidden(subject.clone()));
    assert_eq!(tenant.publish(Message { subject, ..others }).await, refused);
    may_not_publish(tenant, &[Stream::Events, Stream::Ledger]).await;
    may_not_take(tenant, &[Stream::Triggers]).await;
    may_not_see(tenant, &[Stream::Triggers]).await;
    // It hears its own answers only.
    let mut foreign = tenant
        .client()
        .subscribe("_INBOX_trigger.other.x")
        .await
        .unwrap();
    may_not_see(tenant, &[Stream::Events]).await;
    let watcher = bus.connect(Role::Watcher).await;
    watcher
        .answer("_INBOX_trigger.other.x".to_owned(), b"secret".to_vec())
        .await
        .unwrap();
    assert!(
        tokio::time::timeout(SOON / 4, foreign.next())
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_own_and_nothing_else() {
    let bus = Bus::start().await;
    let made = ensure(&*bus.connect(Role::Ensure).await, &EnsureArgs::default())
        .await
        .unwrap();
    assert_eq!(made.len(), 10, "six streams and four consumers: {made:?}");
    let ci = bus.connect(trigger("ci")).await;
    watcher(&bus, &ci).await;
    planner(&bus).await;
    executor(&bus).await;
    reader(&bus).await;
    ensuring(&bus).await;
    tenant(&bus, &ci).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_get_in() {
    let bus = Bus::start().await;
    let url = bus.server.url();
    let stranger = new_identity().unwrap().0;
    for seed in [None, Some(stranger)] {
        let error = JetStreamBus::open(&url, seed, &Role::Watcher, "x")
            .await
            .err()
            .unwrap();
        assert!(matches!(error, BusError::Forbidden(_)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_read_from_a_file() {
    let bus = Bus::start().await;
    let path = std::env::temp_dir().join(format!("signalbox-nkey-{}", std::process::id()));
    let seed = bus
        .seeds
        .iter()
        .find(|(role, _)| *role == Role::Ensure)
        .unwrap();
    std::fs::write(&path, format!("{}\n", seed.1)).unwrap();
    let args = CommonArgs {
        nats_url: bus.server.url(),
        nkey_file: Some(path.clone()),
        ..CommonArgs::default()
    };
    let own = JetStreamBus::with_args(&args, &Role::Ensure).await.unwrap();
    ensure(&own, &EnsureArgs::default()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(JetStreamBus::connect(&args, Role::Ensure).await.is_err());
}
