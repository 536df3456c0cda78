//! What a seed means: how many parts, what people do, what goes wrong, and when. Printed in full.

use serde_json::{Value, json};
use signalbox_common::subject::Stream;
use signalbox_crds::names::ANNOTATION_COMMAND;

use crate::net::{Rates, Side};
use crate::random::Random;
use crate::user::{Meddling, Wish};

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The seed of all chance.
    pub seed: u64,
    /// Watchers, by Lease.
    pub watchers: u64,
    /// Planners.
    pub planners: u64,
    /// Executors.
    pub executors: u64,
    /// What goes wrong all along.
    pub rates: Rates,
    /// What happens, and when, in milliseconds.
    pub timeline: Vec<(u64, Act)>,
    /// When the faults end; then everything must come right.
    pub faults_end: u64,
    /// Within so many milliseconds after that.
    pub patience: u64,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A person does something to an app.
    User(String, Wish),
    /// A part is killed; another one takes its place after so many milliseconds.
    Kill(String),
    /// A part stands still for so many milliseconds.
    Freeze(String, u64),
    /// A part is cut off for so many milliseconds.
    Cut(String, Side, u64),
    /// The watches of a kind tell nothing for so many milliseconds.
    Silence(&'static str, u64),
    /// A part's clock is so many milliseconds off.
    Skew(String, i64),
    /// The bus is away for so many milliseconds.
    BusAway(u64),
    /// A stream is lost and made anew.
    Wipe(Stream),
    /// A stream goes back by so many messages.
    Rewind(Stream, u64),
    /// The messages of one stream about an app are lost.
    Lose(Stream, String),
    /// The API server forgets its log.
    Compact,
    // Ends of the above.
    /// A part goes on.
    Thaw(String),
    /// No part is cut off any more.
    Join,
    /// The bus is back.
    BusBack,
    /// A part is started.
    Start(String),
}

/// The image of a release that works.
fn image(random: &mut Random) -> Value {
    let bad = random.in_thousand(150);
    let version = random.between(1, 5);
    let name = if bad { crate::controllers::BAD } else { "web" };
    json!(format!("example.com/{name}:{version}"))
}

impl Options {
    /// No faults and nothing to do: for flows that a test writes itself.
    #[must_use]
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            watchers: 1,
            planners: 1,
            executors: 1,
            rates: Rates {
                delay: 3,
                ..Rates::default()
            },
            timeline: Vec::new(),
            faults_end: 1000,
            patience: 900_000,
        }
    }

    /// What a seed means.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let random = &mut random;
        let mut options = Self {
            seed,
            watchers: random.between(1, 2),
            planners: random.between(1, 2),
            executors: random.between(1, 3),
            rates: rates(random),
            timeline: Vec::new(),
            faults_end: random.between(20, 60) * 1000,
            patience: 900_000,
        };
        options.people(random);
        options.accidents(random);
        options.timeline.sort_by_key(|(at, _)| *at);
        options
    }

    /// The slots of all parts.
    #[must_use]
    pub fn slots(&self) -> Vec<String> {
        let of = |role: &str, count| {
            (1..=count)
                .map(move |n| format!("{role}-{n}"))
                .collect::<Vec<_>>()
        };
        [
            of("watcher", self.watchers),
            of("planner", self.planners),
            of("executor", self.executors),
        ]
        .concat()
    }

    fn people(&mut self, random: &mut Random) {
        let many = random.in_thousand(30);
        let apps = if many {
            random.between(55, 70)
        } else {
            random.between(1, 4)
        };
        for app in 1..=apps {
            let name = format!("app-{app}");
            let mut at = random.below(if many { 3000 } else { 8000 });
            self.timeline
                .push((at, Act::User(name.clone(), create(random))));
            let changes = if many {
                random.below(3)
            } else {
                random.below(9)
            };
            for _ in 0..changes {
                let soon = random.in_thousand(400);
                at += random.between(1, if soon { 300 } else { 9000 });
                if at >= self.faults_end {
                    break;
                }
                self.timeline
                    .push((at, Act::User(name.clone(), change(random))));
            }
        }
    }

    fn accidents(&mut self, random: &mut Random) {
        let slots = self.slots();
        for _ in 0..random.below(10) {
            let at = random.below(self.faults_end);
            let long = random.between(200, 12_000);
            let Some(slot) = random.one_of(&slots).cloned() else {
                continue;
            };
            let stream = random
                .one_of(&[Stream::Events, Stream::Plans, Stream::Outcomes])
                .copied();
            let stream = stream.unwrap_or(Stream::Plans);
            let side = if random.in_thousand(500) {
                Side::Api
            } else {
                Side::Bus
            };
            let act = match random.below(12) {
                0 | 1 => Act::Kill(slot),
                2 | 3 => Act::Freeze(slot, long),
                4 | 5 => Act::Cut(slot, side, long),
                6 => {
                    let by = i64::try_from(random.between(0, 20_000)).unwrap_or(0) - 10_000;
                    Act::Skew(slot, by)
                }
                7 => Act::BusAway(long),
                8 => Act::Wipe(stream),
                9 => {
                    let kinds = ["Service", "ConfigMap", "Deployment", "PortfolioApp"];
                    let kind = random.one_of(&kinds).copied();
                    Act::Silence(kind.unwrap_or("Service"), long)
                }
                10 => Act::Rewind(stream, random.between(1, 5)),
                _ => match random.below(2) {
                    0 => Act::Compact,
                    _ => Act::Lose(stream, format!("app-{}", random.between(1, 4))),
                },
            };
            self.timeline.push((at, act));
        }
    }
}

fn rates(random: &mut Random) -> Rates {
    let mut some = |most: u64| {
        if random.in_thousand(500) {
            random.below(most + 1)
        } else {
            0
        }
    };
    Rates {
        refused: some(80),
        reset: some(40),
        answer_lost: some(80),
        stalled: some(10),
        watch: some(30),
        bus: some(60),
        fetch: some(40),
        reorder: some(500),
        crash: some(6),
        delay: some(80).max(2),
    }
}

fn create(random: &mut Random) -> Wish {
    let mut fields = json!({
        "image": image(random),
        "replicas": random.below(5),
        "rollout": {
            "drainSeconds": random.below(4), "progressDeadlineSeconds": 60,
            "historyLimit": random.below(3),
        },
    });
    let Some(spec) = fields.as_object_mut() else {
        return Wish::Create(fields);
    };
    if random.in_thousand(400) {
        spec.insert(
            "deletion".to_owned(),
            json!({
                "gracePeriodSeconds": random.below(4),
                "storage": if random.in_thousand(500) { "Delete" } else { "Retain" },
            }),
        );
    }
    if random.in_thousand(300) {
        spec.insert(
            "storage".to_owned(),
            json!({ "size": "1Gi", "mountPath": "/data" }),
        );
    }
    if random.in_thousand(300) {
        spec.insert(
            "disruptionBudget".to_owned(),
            json!({ "maxUnavailable": "1" }),
        );
    }
    if random.in_thousand(200) {
        spec.insert(
            "autoscaling".to_owned(),
            json!({ "minReplicas": 1, "maxReplicas": 5 }),
        );
    }
    if random.in_thousand(300)
        && let Some(rollout) = spec.get_mut("rollout").and_then(Value::as_object_mut)
    {
        rollout.insert("steps".to_owned(), json!([
            { "weight": 25, "pauseSeconds": random.below(3) }, { "weight": 60, "pauseSeconds": 0 },
        ]));
    }
    Wish::Create(fields)
}

fn change(random: &mut Random) -> Wish {
    match random.below(12) {
        0..=3 => Wish::Change(json!({ "image": image(random) })),
        4 | 5 => Wish::Change(json!({ "config": { "LEVEL": format!("l{}", random.below(4)) } })),
        6 | 7 => Wish::Change(json!({ "replicas": random.below(6) })),
        8 => {
            let kinds = ["Service", "ConfigMap", "Deployment"];
            let kind = random.one_of(&kinds).copied().unwrap_or("Service");
            let deed = match random.below(4) {
                0 => Meddling::Delete(kind),
                1 => Meddling::Config,
                2 => Meddling::Replicas,
                _ => Meddling::Selector,
            };
            Wish::Meddle(deed)
        }
        9 => Wish::Delete,
        10 => create(random),
        _ => Wish::Annotate(ANNOTATION_COMMAND, "abort".to_owned()),
    }
}
