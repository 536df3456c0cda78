//! Rights on the bus that are granted are rights that are used: proxies tell what each identity says.
//!
//! An app, a trigger, messages that nobody can use, a second watcher, the command line and `bus ensure`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt as _;
use serde_json::{Value, json};
use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::config::CommonArgs;
use signalbox_devcluster::Companion;
use signalbox_tests::bus::BusView;
use signalbox_tests::crash::own_bus;
use signalbox_tests::fixtures::minimal;
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Part, World, WorldOptions, eventually, signing};

const PATIENCE: Duration = Duration::from_mins(1);

/// Why a right is granted that is not used here, if there is a reason.
fn reason(right: &str) -> Option<&'static str> {
    if right.contains(" $JS.ACK.*.*.") {
        return Some("servers may name domain and account in acks; those of the suite do not");
    }
    let reads = right.starts_with("reader $JS.API.CONSUMER.")
        || right.starts_with("reader $JS.API.DIRECT.GET.")
        || right.starts_with("reader $JS.API.STREAM.MSG.GET.");
    reads.then_some("people read LEDGER and DEAD with the stock command line of NATS (RUNBOOK)")
}

/// Whether what is published or subscribed is within a pattern of rights.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut words, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (words.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(word), Some(token)) if word == "*" || word == token => {}
            (_, _) => return false,
        }
    }
}

/// A proxy before the world's bus, for whoever connects through it.
async fn door(world: &World, part: Part) -> ProxiedPart {
    ProxiedPart::new(world, part, world.cluster.nats_url().unwrap(), None, &[]).await
}

fn through(world: &World, door: &ProxiedPart, role: &str) -> CommonArgs {
    CommonArgs {
        nats_url: door.proxy.nats_url(),
        ..world.common_args(role)
    }
}

async fn client(world: &World, door: &ProxiedPart, role: &Role) -> async_nats::Client {
    let seed = std::fs::read_to_string(world.seed(role.label())).unwrap();
    async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
        .custom_inbox_prefix(role.inbox())
        .connect(door.proxy.nats_url())
        .await
        .unwrap()
}

/// A message that its reader can't use, from the part that may send it.
async fn poison(world: &World, part: Part, role: Role, word: &str) -> String {
    let subject = format!("sb.{word}.suite.PortfolioApp.nobody.ghost");
    let (client, body) = (world.nats(&role).await, "not json");
    let headers = signing::headers(
        &signing::key(world, part),
        &subject,
        &subject,
        body.as_bytes(),
    );
    client
        .request_with_headers(subject.clone(), headers, body.into())
        .await
        .unwrap();
    subject
}

/// A trigger and its answer.
async fn ask(client: &async_nats::Client, namespace: &str) -> Value {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    let event = json!({
        "specversion": "1.0", "id": "one", "source": "/ci", "type": "dev.signalbox.trigger.v1",
        "time": "2026-11-01T00:00:00Z", "datacontenttype": "application/json", "replyto": inbox,
        "data": {"image": "example/orders:2"},
    });
    let subject = format!("sb.trigger.ci.PortfolioApp.{namespace}.orders.set-image");
    client
        .request(subject, event.to_string().into())
        .await
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
    serde_json::from_slice(&answer.unwrap().unwrap().payload).unwrap()
}

/// A bus that has nothing yet: all is made; then a field of each stream is changed by hand and brought back.
async fn a_bus_of_its_own(world: &World) -> (ProxiedPart, Companion) {
    let (server, url) = own_bus(world, 0).await;
    let ensuring = ProxiedPart::new(world, Part::Watcher, url, None, &[]).await;
    let bus = JetStreamBus::with_args(&through(world, &ensuring, "ensure"), &Role::Ensure)
        .await
        .unwrap();
    let made = ensure(&bus, &EnsureArgs::default()).await.unwrap();
    assert_eq!(made.len(), 10, "{made:?}");
    for stream in ["EVENTS", "PLANS", "OUTCOMES", "TRIGGERS", "LEDGER", "DEAD"] {
        let ask = async |verb: &str, body: String| -> Value {
            let subject = format!("$JS.API.STREAM.{verb}.{stream}");
            let answer = bus.client().request(subject, body.into()).await.unwrap();
            serde_json::from_slice(&answer.payload).unwrap()
        };
        let mut config = ask("INFO", String::new()).await["config"].take();
        config["description"] = json!("by hand");
        ask("UPDATE", config.to_string()).await;
    }
    let changes = ensure(&bus, &EnsureArgs::default()).await.unwrap();
    assert_eq!(changes.len(), 6, "{changes:?}");
    (ensuring, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_right_on_the_bus_that_is_granted_is_used() {
    let world = World::start("bus-rights", WorldOptions::BARE).await;
    let mut doors = Vec::new();
    for part in [Part::Watcher, Part::Watcher, Part::Planner, Part::Executor] {
        let mut door = door(&world, part).await;
        door.start(&world);
        doors.push(door);
    }
    let reading = door(&world, Part::Watcher).await;
    let outside = door(&world, Part::Watcher).await;
    let tenant = Role::Trigger {
        tenant: "ci".to_owned(),
    };

    let objects = world.namespace(&[]).await;
    let space = objects.namespace.as_str();
    world
        .apply(&minimal(space, "orders", "example/orders:1"))
        .await;
    eventually("the app is served", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        let seen = &app["status"]["observedGeneration"];
        if *seen == app["metadata"]["generation"] {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    })
    .await;
    let sender = client(&world, &outside, &tenant).await;
    let answer = ask(&sender, space).await;
    assert_eq!(answer["result"], "applied", "{answer}");

    let reader = client(&world, &reading, &Role::Reader).await;
    let streams = jetstream::new(reader);
    let dead = streams.get_stream("DEAD").await.unwrap();
    for (part, role, word, stream) in [
        (Part::Watcher, Role::Watcher, "event", "EVENTS"),
        (Part::Planner, Role::Planner, "plan", "PLANS"),
        (Part::Executor, Role::Executor, "outcome", "OUTCOMES"),
    ] {
        let subject = poison(&world, part, role, word).await;
        let subject = format!("sb.dead.{stream}.{subject}");
        eventually("it is in DEAD", PATIENCE, || {
            dead.get_last_raw_message_by_subject(&subject)
        })
        .await;
    }
    // Either of them led; the other takes over, and lists the streams.
    let first = doors.remove(0);
    let before = first.proxy.director.spoken();
    drop(first);
    eventually("a watcher leads", PATIENCE, || {
        let said = doors[0].proxy.director.spoken();
        async move {
            match said.publish.iter().find(|s| s.starts_with("sb.")) {
                Some(_) => Ok(()),
                None => Err(format!("{said:?}")),
            }
        }
    })
    .await;

    let url = reading.proxy.nats_url();
    for arguments in [
        ["timeline", "orders", "-n", space, "--nats-url", &url].as_slice(),
        &["replay", "--nats-url", &url],
    ] {
        let (code, text) = world.signalbox(arguments).await;
        assert_eq!(code, Some(0), "{text}");
    }
    let view = BusView::connect(&through(&world, &reading, "reader")).await;
    for stream in signalbox_common::subject::Stream::ALL {
        view.last_sequence(stream).await;
    }
    let (ensuring, _empty) = a_bus_of_its_own(&world).await;

    let mut unused = BTreeSet::new();
    let mut beyond = BTreeSet::new();
    let others = [
        (Role::Ensure, &ensuring),
        (Role::Reader, &reading),
        (tenant, &outside),
    ];
    let parts = [Role::Watcher, Role::Planner, Role::Executor];
    let parts = parts.into_iter().zip(&doors);
    for (role, door) in parts.chain(others) {
        let mut said = door.proxy.director.spoken();
        if role == Role::Watcher {
            said.publish.extend(before.publish.iter().cloned());
            said.subscribe.extend(before.subscribe.iter().cloned());
        }
        let rights = role.rights();
        for (granted, said) in [
            (&rights.publish, &said.publish),
            (&rights.subscribe, &said.subscribe),
        ] {
            let idle = granted
                .iter()
                .filter(|pattern| !said.iter().any(|subject| covers(pattern, subject)));
            unused.extend(idle.map(|pattern| format!("{role} {pattern}")));
            let foreign = said
                .iter()
                .filter(|subject| !granted.iter().any(|pattern| covers(pattern, subject)));
            beyond.extend(foreign.map(|subject| format!("{role} {subject}")));
        }
    }
    assert_eq!(beyond, BTreeSet::new(), "said, never granted");
    unused.retain(|right| reason(right).is_none());
    assert_eq!(unused, BTreeSet::new(), "granted, never used");
}
