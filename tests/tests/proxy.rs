//! Each fault of the proxy as a client sees it, and what it leaves on the real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a failed step ends a suite; a scenario is told in one piece"
)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{Message, SharedBus};
use signalbox_common::config::CommonArgs;
use signalbox_common::subject::Stream;
use signalbox_proxy::{Direction, Fault, Loss, Masks, Place, Plan, Protocol};
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Objects, Part, World, WorldOptions, eventually};
use tokio_postgres::NoTls;

const SOON: Duration = Duration::from_secs(10);
/// Nothing comes within this time: longer than any answer takes.
const SILENCE: Duration = Duration::from_millis(700);

/// A world, a proxy with the executor's identity, and a process that may be killed.
struct Case {
    world: World,
    part: ProxiedPart,
    victim: Child,
}

impl Case {
    async fn new(name: &str) -> Self {
        let options = WorldOptions {
            controllers: false,
            postgres: true,
        };
        let world = World::start(name, options).await;
        let nats = world.cluster.nats_url().unwrap();
        let part = ProxiedPart::new(&world, Part::Executor, nats, None, &[]).await;
        let mut case = Self {
            world,
            part,
            victim: sleeper(),
        };
        case.plan(Plan::default());
        case
    }

    /// The next run: this plan, and a process that lives.
    fn plan(&mut self, plan: Plan) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        self.victim = sleeper();
        let director = &self.part.proxy.director;
        director.begin(Masks::none(), plan);
        director.attach(self.victim.id());
    }

    /// The bus as the part reaches it.
    async fn bus(&self) -> SharedBus {
        let arguments = CommonArgs {
            nats_url: self.part.proxy.nats_url(),
            ..self.world.common_args("executor")
        };
        JetStreamBus::connect(&arguments, Role::Executor)
            .await
            .unwrap()
    }

    async fn is_killed(&mut self) {
        let victim = &mut self.victim;
        eventually("the part is killed", SOON, || {
            let status = victim.try_wait().unwrap();
            async move {
                match status.and_then(|status| status.signal()) {
                    Some(9) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
    }

    fn lives(&mut self) -> bool {
        self.victim.try_wait().unwrap().is_none()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}

/// Makes a `ConfigMap`; the code of the answer, or none.
async fn create(objects: &Objects, name: &str) -> Option<u16> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": objects.namespace},
    });
    let object = serde_json::from_value(object).unwrap();
    let api = objects.api("configmap");
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Some(201),
        Err(kube::Error::Api(status)) => Some(status.code),
        Err(_) => None,
    }
}

/// What the client sees of a create under a fault, whether it took effect, whether the part died.
#[tokio::test(flavor = "multi_thread")]
async fn requests() {
    let mut case = Case::new("proxy-api").await;
    let admin = case.world.namespace(&[]).await;
    let through = case.part.objects(&admin.namespace).await;
    let refuse = |code, retry_after| Fault::Refuse { code, retry_after };
    let cases = [
        (None, Some(201), true, false),
        (Some(refuse(403, None)), Some(403), false, false),
        (Some(refuse(409, None)), Some(409), false, false),
        (Some(refuse(422, None)), Some(422), false, false),
        (Some(refuse(429, Some(1))), Some(429), false, false),
        (Some(refuse(500, None)), Some(500), false, false),
        (Some(refuse(503, None)), Some(503), false, false),
        (Some(Fault::Lose(Loss::Timeout)), Some(504), true, false),
        (Some(Fault::Lose(Loss::Reset)), None, true, false),
        (Some(Fault::Cut), None, false, false),
        (Some(Fault::Duplicate), Some(201), true, false),
        (Some(Fault::Kill(Place::Before)), None, false, true),
        (Some(Fault::Kill(Place::Answer)), None, true, true),
        (Some(Fault::Kill(Place::After)), Some(201), true, true),
    ];
    for (number, (fault, answer, effect, dies)) in cases.into_iter().enumerate() {
        let name = format!("made-{number}");
        let step = format!("api create configmaps {}/{name}", admin.namespace);
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let mark = case.world.audit().mark();
        assert_eq!(create(&through, &name).await, answer, "{fault:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        let made = admin.find("configmap", &name).await.is_some();
        assert_eq!(made, effect, "{fault:?}");
        let steps = case.part.proxy.director.trace();
        assert_eq!(steps[0].step, step);
        assert_eq!(
            case.part.proxy.director.made().len(),
            usize::from(fault.is_some())
        );
        // The server knows it as the part that it is; what was sent twice it heard twice.
        let heard = case.world.audit().writes_since(mark);
        let heard: Vec<_> = heard.iter().filter(|w| w.name == name).collect();
        let times = if fault == Some(Fault::Duplicate) {
            2
        } else {
            usize::from(effect)
        };
        assert_eq!(heard.len(), times, "{fault:?}");
        assert!(heard.iter().all(|w| w.user == Part::Executor.user()));
    }

    case.plan(Plan::every("api create *", Fault::Delay { ms: 400 }));
    let begun = Instant::now();
    assert_eq!(create(&through, "later").await, Some(201));
    assert!(begun.elapsed() >= Duration::from_millis(400));

    case.plan(Plan::every("api create *", Fault::Drop));
    let dropped = tokio::time::timeout(SILENCE, create(&through, "dropped")).await;
    assert!(dropped.is_err() && admin.find("configmap", "dropped").await.is_none());

    // A partition: what was sent goes on when it heals.
    case.plan(Plan::default());
    for (direction, effect) in [(Direction::ToServer, false), (Direction::ToPart, true)] {
        let name = format!("parted-{effect}");
        case.part.proxy.part_from(Protocol::Api, direction);
        let mut asked = Box::pin(create(&through, &name));
        let early = tokio::time::timeout(SILENCE, &mut asked).await;
        assert!(early.is_err(), "{direction:?}");
        let made = admin.find("configmap", &name).await.is_some();
        assert_eq!(made, effect, "{direction:?}");
        case.part.proxy.heal(Protocol::Api, direction);
        assert_eq!(asked.await, Some(201));
    }
}

/// What a watch tells under each fault.
#[tokio::test(flavor = "multi_thread")]
async fn watches() {
    let mut case = Case::new("proxy-watch").await;
    let admin = case.world.namespace(&[]).await;
    // A part that may watch.
    let nats = case.world.cluster.nats_url().unwrap();
    case.part = ProxiedPart::new(
        &case.world,
        Part::Watcher,
        nats,
        Some(admin.namespace.clone()),
        &[],
    )
    .await;
    let through = case.part.objects(&admin.namespace).await;
    let hold = Fault::Hold {
        until: "api event DELETED configmaps *".to_owned(),
    };
    let cases = [
        (None, "ADDED MODIFIED DELETED"),
        (Some(Fault::Drop), "ADDED DELETED"),
        (Some(Fault::Duplicate), "ADDED MODIFIED MODIFIED DELETED"),
        (Some(Fault::Delay { ms: 100 }), "ADDED MODIFIED DELETED"),
        (Some(Fault::Cut), "ADDED"),
        (Some(Fault::Gone), "ADDED 410"),
        (Some(Fault::Kill(Place::Before)), "ADDED"),
        (Some(hold.clone()), "ADDED DELETED"),
    ];
    for (number, (fault, expected)) in cases.into_iter().enumerate() {
        let name = format!("seen-{number}");
        let at = format!("api event MODIFIED configmaps {}/{name}", admin.namespace);
        let plan = fault.clone().map(|fault| Plan::once(&at, 1, fault));
        case.plan(plan.unwrap_or_default());
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let stream = through.api("configmap").watch(&params, "0").await.unwrap();
        let mut stream = Box::pin(stream);
        assert_eq!(create(&admin, &name).await, Some(201));
        admin
            .patch("configmap", &name, json!({"data": {"a": "b"}}))
            .await;
        admin.delete("configmap", &name).await;
        let mut told = Vec::new();
        let words = expected.split(' ').count();
        while told.len() < words {
            let word = match tokio::time::timeout(SOON, stream.next()).await.unwrap() {
                None | Some(Err(_)) => break,
                Some(Ok(WatchEvent::Added(_))) => "ADDED".to_owned(),
                Some(Ok(WatchEvent::Modified(_))) => "MODIFIED".to_owned(),
                Some(Ok(WatchEvent::Deleted(_))) => "DELETED".to_owned(),
                Some(Ok(WatchEvent::Bookmark(_))) => continue,
                Some(Ok(WatchEvent::Error(status))) => status.code.to_string(),
            };
            told.push(word);
        }
        assert_eq!(told.join(" "), expected, "{fault:?}");
        let more = tokio::time::timeout(SILENCE, stream.next()).await;
        let ends = matches!(more, Ok(None | Some(Err(_))));
        let cut = matches!(fault, Some(Fault::Cut | Fault::Gone | Fault::Kill(_)));
        assert_eq!(ends, cut, "{fault:?}: {more:?}");
        if fault == Some(Fault::Kill(Place::Before)) {
            case.is_killed().await;
        }
    }

    // Confined to a namespace, a list of all namespaces tells of this one alone.
    let other = case.world.namespace(&[]).await;
    assert_eq!(create(&other, "elsewhere").await, Some(201));
    assert_eq!(create(&admin, "here").await, Some(201));
    let all = case.part.objects("").await.api("configmap");
    let names = all.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = names
        .items
        .into_iter()
        .filter_map(|o| o.metadata.name)
        .collect();
    assert!(names.contains(&"here".to_owned()) && !names.contains(&"elsewhere".to_owned()));
}

fn message(stream: Stream, subject: &str) -> Message {
    Message {
        stream,
        subject: subject.to_owned(),
        headers: BTreeMap::default(),
        body: b"{}".to_vec(),
        msg_id: None,
    }
}

/// What a publisher sees, how often the message is stored, whether the part died.
#[tokio::test(flavor = "multi_thread")]
async fn publishes_and_deliveries() {
    let mut case = Case::new("proxy-bus").await;
    let stored = case.world.bus().await;
    let planner = JetStreamBus::connect(&case.world.common_args("planner"), Role::Planner)
        .await
        .unwrap();
    let cases = [
        (None, true, 1, false),
        (Some(Fault::Drop), false, 0, false),
        (Some(Fault::Cut), false, 0, false),
        (Some(Fault::Duplicate), true, 2, false),
        (Some(Fault::Delay { ms: 100 }), true, 1, false),
        (Some(Fault::Lose(Loss::Timeout)), false, 1, false),
        (Some(Fault::Lose(Loss::Reset)), false, 1, false),
        (Some(Fault::Kill(Place::Before)), false, 0, true),
        (Some(Fault::Kill(Place::Answer)), false, 1, true),
        (Some(Fault::Kill(Place::After)), true, 1, true),
    ];
    for (number, (fault, answered, times, dies)) in cases.into_iter().enumerate() {
        let subject = format!("sb.ledger.suite.outcome.PortfolioApp.team.a{number}");
        let step = format!("bus publish {subject}");
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let bus = case.bus().await;
        let before = stored.last_sequence(Stream::Ledger).await;
        let answer = bus.publish(message(Stream::Ledger, &subject)).await;
        assert_eq!(answer.is_ok(), answered, "{fault:?}: {answer:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        let after = stored.last_sequence(Stream::Ledger).await;
        assert_eq!(after - before, times, "{fault:?}");
        let steps = case.part.proxy.director.trace();
        assert!(steps.iter().any(|entry| entry.step == step && entry.effect));
    }

    let cases = [
        (None, 1, false),
        (Some(Fault::Drop), 0, false),
        (Some(Fault::Duplicate), 2, false),
        (Some(Fault::Kill(Place::Before)), 0, true),
        (Some(Fault::Kill(Place::After)), 1, true),
    ];
    for (number, (fault, times, dies)) in cases.into_iter().enumerate() {
        let subject = format!("sb.plan.suite.PortfolioApp.team.a{number}");
        let step = format!("bus deliver {subject}");
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let bus = case.bus().await;
        planner
            .publish(message(Stream::Plans, &subject))
            .await
            .unwrap();
        let taken = bus
            .fetch(Stream::Plans, 2, SILENCE)
            .await
            .unwrap_or_default();
        assert_eq!(taken.len(), times, "{fault:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        // Whatever was taken or not: it is delivered until somebody acknowledges it.
        case.plan(Plan::default());
        let bus = case.bus().await;
        let again = eventually("it is delivered", SOON, || async {
            let taken = bus
                .fetch(Stream::Plans, 1, SILENCE)
                .await
                .unwrap_or_default();
            taken.into_iter().next().ok_or("nothing")
        })
        .await;
        assert_eq!(again.subject, subject);
        again.acker.ack().await.unwrap();
        let acks = case.part.proxy.director.trace();
        let ack = format!("bus ack {subject}");
        assert!(acks.iter().any(|entry| entry.step == ack && entry.effect));
        assert_eq!(stored.open().await, 0);
    }

    // A partition holds a publish back; healed, it goes on.
    let bus = case.bus().await;
    case.part
        .proxy
        .part_from(Protocol::Bus, Direction::ToServer);
    let before = stored.last_sequence(Stream::Ledger).await;
    let late = message(
        Stream::Ledger,
        "sb.ledger.suite.outcome.PortfolioApp.team.late",
    );
    assert!(bus.publish(late).await.is_err());
    assert_eq!(stored.last_sequence(Stream::Ledger).await, before);
    case.part.proxy.heal(Protocol::Bus, Direction::ToServer);
    eventually("it is stored", SOON, || async {
        match stored.last_sequence(Stream::Ledger).await - before {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// What runs of a statement, whether its end is seen, whether the part died.
#[tokio::test(flavor = "multi_thread")]
async fn statements() {
    let mut case = Case::new("proxy-sql").await;
    let url = case.world.cluster.create_database("ledger").await.unwrap();
    let (direct, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    direct
        .batch_execute("CREATE TABLE t (n int)")
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES ($1::int4)";
    let cases = [
        (None, true, true, false),
        (Some(Fault::Cut), false, false, false),
        (Some(Fault::Delay { ms: 100 }), true, true, false),
        (Some(Fault::Lose(Loss::Reset)), false, true, false),
        (Some(Fault::Kill(Place::Before)), false, false, true),
        (Some(Fault::Kill(Place::Answer)), false, true, true),
        (Some(Fault::Kill(Place::After)), true, true, true),
    ];
    for (number, (fault, answered, effect, dies)) in cases.into_iter().enumerate() {
        let step = format!("sql ledger {insert}");
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let through = case.part.through(&url);
        let (client, connection) = tokio_postgres::connect(&through, NoTls).await.unwrap();
        tokio::spawn(connection);
        let n = i32::try_from(number).unwrap();
        // Prepared first, which is no step, then run.
        let ran = client.execute(insert, &[&n]).await;
        assert_eq!(ran.is_ok(), answered, "{fault:?}: {ran:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        let rows = direct
            .query("SELECT 1 FROM t WHERE n = $1", &[&n])
            .await
            .unwrap();
        assert_eq!(rows.len(), usize::from(effect), "{fault:?}");
        let steps: Vec<_> = case.part.proxy.director.trace();
        let steps: Vec<_> = steps.iter().map(|entry| entry.step.as_str()).collect();
        assert_eq!(steps, [step.as_str()]);
    }

    // A COMMIT whose end nobody saw is one all the same, and one that never arrived is none.
    for (fault, rows) in [(Place::Before, 0), (Place::Answer, 1)] {
        direct.batch_execute("TRUNCATE t").await.unwrap();
        case.plan(Plan::once("sql ledger COMMIT", 1, Fault::Kill(fault)));
        let through = case.part.through(&url);
        let (client, connection) = tokio_postgres::connect(&through, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN").await.unwrap();
        client
            .batch_execute("INSERT INTO t VALUES (7)")
            .await
            .unwrap();
        assert!(client.batch_execute("COMMIT").await.is_err());
        case.is_killed().await;
        let found = direct.query("SELECT 1 FROM t", &[]).await.unwrap();
        assert_eq!(found.len(), rows, "{fault:?}");
    }
}
