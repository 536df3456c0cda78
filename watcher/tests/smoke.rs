//! The watcher against a real API server and a real bus, with a stand-in for planner and executor.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{Bus as _, Message, SharedBus};
use signalbox_common::config::CommonArgs;
use signalbox_common::id::{ObjectKey, StepId};
use signalbox_common::kinds::Kind;
use signalbox_common::record;
use signalbox_common::subject::{self, Stream};
use signalbox_common::wire::outcome::{ActionReport, ActionResult};
use signalbox_common::wire::{self, Cause, Event, Outcome, OutcomeResult, trigger};
use signalbox_devcluster::{ClusterOptions, DevCluster, NatsOptions};
use signalbox_watcher::{Args, run};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    cluster: DevCluster,
    bus: SharedBus,
    /// Events that the stand-in has answered, in order.
    seen: Arc<Mutex<Vec<Event>>>,
    /// Held by the stand-in while it fetches and answers.
    answering: Arc<tokio::sync::Mutex<()>>,
}

struct Watcher {
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Watcher {
    async fn stop(self) {
        self.end.cancel();
        self.task.await.unwrap();
    }
}

impl Bench {
    async fn start() -> Self {
        let options = ClusterOptions {
            nats: Some(NatsOptions::default()),
            ..ClusterOptions::bare("watcher")
        };
        let cluster = DevCluster::start(options).await.unwrap();
        cluster
            .apply(&signalbox_crds::yaml().unwrap())
            .await
            .unwrap();
        cluster
            .kubectl(&["wait", "--for=condition=Established", "crd", "--all"])
            .await
            .unwrap();
        cluster
            .kubectl(&["create", "namespace", "signalbox-system"])
            .await
            .unwrap();
        let url = cluster.nats_url().unwrap();
        let streams = JetStreamBus::open(&url, None, &Role::Ensure, "test")
            .await
            .unwrap();
        ensure(&streams, &EnsureArgs::default()).await.unwrap();
        let bus: SharedBus = JetStreamBus::open(&url, None, &Role::Planner, "test")
            .await
            .unwrap();
        let bench = Self {
            cluster,
            bus,
            seen: Arc::default(),
            answering: Arc::default(),
        };
        tokio::spawn(stand_in(
            bench.bus.clone(),
            bench.seen.clone(),
            bench.answering.clone(),
        ));
        bench
    }

    fn watcher(&self, instance: &str, force_active: bool) -> Watcher {
        let common = CommonArgs {
            nats_url: self.cluster.nats_url().unwrap(),
            kubeconfig: Some(self.cluster.kubeconfig("admin").unwrap()),
            instance: instance.to_owned(),
            ..CommonArgs::default()
        };
        let args = Args {
            common,
            namespace: "signalbox-system".to_owned(),
            force_active,
        };
        let end = CancellationToken::new();
        let task = tokio::spawn({
            let end = end.clone();
            async move { run(args, end).await.unwrap() }
        });
        Watcher { end, task }
    }

    /// Waits for an answered Event that fits, at or after the place `from`; returns it.
    async fn event(&self, from: usize, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        let begun = Instant::now();
        loop {
            let found = self
                .seen
                .lock()
                .unwrap()
                .iter()
                .skip(from)
                .find(|e| fits(e))
                .cloned();
            if let Some(event) = found {
                return event;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "no event: {what}; seen: {:?}",
                self.causes(from)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn causes(&self, from: usize) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let events = seen.iter().skip(from).map(|event| &event.observation);
        events
            .map(|seen| format!("{} {}", seen.key, seen.cause.label()))
            .collect()
    }

    fn mark(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn app(&self, name: &str, image: &str) {
        self.cluster.apply(&app(name, image)).await.unwrap();
    }

    async fn uid(&self, name: &str) -> String {
        let uid = ["get", "papp", name, "-ojsonpath={.metadata.uid}"];
        self.cluster.kubectl(&uid).await.unwrap()
    }
}

fn app(name: &str, image: &str) -> String {
    format!(
        "---\napiVersion: signalbox.dev/v1alpha1\nkind: PortfolioApp\n\
         metadata: {{ name: {name}, namespace: default }}\n\
         spec: {{ image: \"{image}\" }}\n"
    )
}

fn is(name: &str, cause: &str) -> impl Fn(&Event) -> bool {
    move |event| event.observation.key.name == name && event.observation.cause.label() == cause
}

/// Answers every Event as planner and executor would, if there were nothing to do.
async fn stand_in(
    bus: SharedBus,
    seen: Arc<Mutex<Vec<Event>>>,
    answering: Arc<tokio::sync::Mutex<()>>,
) {
    loop {
        let _answering = answering.lock().await;
        let Ok(taken) = bus
            .fetch(Stream::Events, 10, Duration::from_millis(200))
            .await
        else {
            return;
        };
        for delivery in taken {
            let event: Event = wire::decode(&delivery.body).unwrap();
            let observation = &event.observation;
            let trigger = if let Cause::Trigger { trigger } = &observation.cause {
                Some(trigger)
            } else {
                None
            };
            // What a planner would have asked for the trigger, done.
            let actions = trigger.map(|trigger| ActionReport {
                key: format!("{}asked", trigger::ACTION),
                id: StepId::new(&observation.uid, trigger::ACTION, &trigger.id),
                result: ActionResult::Done,
                took_ms: 1,
            });
            let actions: Vec<ActionReport> = actions.into_iter().collect();
            let outcome = Outcome {
                schema: 1,
                reconcile_id: observation.reconcile_id,
                key: observation.key.clone(),
                uid: observation.uid.clone(),
                by: "stand-in".into(),
                trigger: trigger.map(|trigger| trigger.id.clone()),
                result: if actions.is_empty() {
                    OutcomeResult::Settled
                } else {
                    OutcomeResult::Done
                },
                actions,
                written: Vec::new(),
                live: None,
                not_before: None,
                late: Vec::new(),
                rest: None,
            };
            let body = serde_json::to_vec(&outcome).unwrap();
            let (key, id) = (&observation.key, observation.reconcile_id);
            let message =
                record::flight_message("default", Stream::Outcomes, key, id, body).unwrap();
            while bus.publish(message.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            delivery.acker.ack().await.unwrap();
            seen.lock().unwrap().push(event);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_become_events_and_outcomes_free_their_places() {
    let bench = Bench::start().await;
    let first = bench.watcher("first", false);

    bench.app("web", "web:1").await;
    let event = bench.event(0, "the new app", is("web", "spec")).await;
    let object = event.observation.object.unwrap();
    assert_eq!(object.content["spec"]["image"], "web:1");
    assert_eq!(event.observation.absent, Vec::<String>::new());
    bench.app("web", "web:2").await;
    let event = bench.event(1, "the change", is("web", "spec")).await;
    assert_eq!(event.observation.cause, Cause::Spec { generation: 2 });

    children_are_seen(&bench).await;
    triggers_are_answered(&bench).await;
    the_backlog_is_bounded(&bench).await;
    a_standby_takes_over(&bench, first).await;
}

async fn children_are_seen(bench: &Bench) {
    let uid = bench.uid("web").await;
    let mark = bench.mark();
    let child = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web-config\n  namespace: default\n  \
         labels: {{ signalbox.dev/owner: web }}\n  ownerReferences: [{{ apiVersion: signalbox.dev/v1alpha1, \
         kind: PortfolioApp, name: web, uid: {uid} }}]\ndata: {{ a: b }}\n"
    );
    bench.cluster.apply(&child).await.unwrap();
    let event = bench.event(mark, "the child", is("web", "child")).await;
    assert_eq!(event.observation.children[0].content["data"]["a"], "b");
    assert!(
        !event.observation.children[0].foreign.is_empty(),
        "kubectl owns its data"
    );

    let mark = bench.mark();
    let strip = ["label", "configmap", "web-config", "signalbox.dev/owner-"];
    bench.cluster.kubectl(&strip).await.unwrap();
    let event = bench
        .event(mark, "the child left the view", is("web", "child"))
        .await;
    assert!(event.observation.children.is_empty());
}

async fn triggers_are_answered(bench: &Bench) {
    let url = bench.cluster.nats_url().unwrap();
    let role = Role::Trigger {
        tenant: "ci".to_owned(),
    };
    let ci = JetStreamBus::open(&url, None, &role, "test").await.unwrap();
    let inbox = format!("{}.answer", role.inbox());
    let client = ci.client();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.flush().await.unwrap();
    for (name, verb, expected) in [
        ("web", "restart", "applied"),
        ("nobody", "restart", "refused"),
        ("web", "explode", "refused"),
    ] {
        let key = ObjectKey::new(Kind::PortfolioApp, "default", name);
        let headers = [
            ("ce-id", "t-1"),
            ("ce-source", "/ci"),
            ("ce-time", "2026-01-01T00:00:00Z"),
            ("ce-replyto", inbox.as_str()),
        ];
        let headers: BTreeMap<String, String> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let message = Message {
            stream: Stream::Triggers,
            subject: subject::trigger("ci", &key, verb),
            headers,
            body: b"{}".to_vec(),
            msg_id: None,
        };
        ci.publish(message).await.unwrap();
        let answer = futures::StreamExt::next(&mut answers);
        let answer = tokio::time::timeout(LIMIT, answer).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(
            (&answer["trigger"], &answer["result"]),
            (&"t-1".into(), &expected.into())
        );
    }
    let begun = Instant::now();
    while bench.bus.state(Stream::Triggers).await.unwrap().messages > 0 {
        assert!(begun.elapsed() < LIMIT, "a trigger is not acknowledged");
    }
}

async fn the_backlog_is_bounded(bench: &Bench) {
    let nobody_answers = bench.answering.lock().await;
    let mark = bench.mark();
    let names: Vec<String> = (0..60).map(|name| format!("many-{name}")).collect();
    let all: String = names.iter().map(|name| app(name, "web:1")).collect();
    bench.cluster.apply(&all).await.unwrap();
    let mut most = 0;
    let begun = Instant::now();
    while most < 48 || begun.elapsed() < Duration::from_secs(4) {
        let now = bench.bus.state(Stream::Events).await.unwrap().messages;
        assert!(now <= 48, "{now} flights");
        most = most.max(now);
        assert!(begun.elapsed() < LIMIT, "only {most} flights");
    }
    drop(nobody_answers);
    for name in &names {
        bench.event(mark, name, is(name, "spec")).await;
    }
}

async fn a_standby_takes_over(bench: &Bench, first: Watcher) {
    let second = bench.watcher("second", false);
    let third = bench.watcher("forced", true);
    let mark = bench.mark();
    bench
        .event(mark, "a start serves every object", |event| {
            event.observation.key.name == "web"
        })
        .await;
    bench.app("web", "web:3").await;
    bench
        .event(mark, "two active watchers are harmless", is("web", "spec"))
        .await;
    third.stop().await;
    first.stop().await;
    let mark = bench.mark();
    bench.app("late", "web:1").await;
    bench
        .event(mark, "the standby serves", is("late", "spec"))
        .await;
    let mark = bench.mark();
    bench
        .cluster
        .kubectl(&["delete", "papp", "late"])
        .await
        .unwrap();
    let event = bench.event(mark, "the deletion", is("late", "gone")).await;
    assert!(event.observation.object.is_none() && !event.observation.uid.is_empty());
    second.stop().await;
    let holder = [
        "get",
        "lease",
        "-n",
        "signalbox-system",
        "signalbox-watcher",
        "-ojsonpath={.spec.holderIdentity}",
    ];
    assert_eq!(
        bench.cluster.kubectl(&holder).await.unwrap(),
        "",
        "the Lease was given back"
    );
}
