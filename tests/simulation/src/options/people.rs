//! What people and their machines do: apps, their schemas, changes, meddling, triggers.
//!
//! Decides by the seed's chance alone; how it is done is in [`crate::user`] and [`crate::trigger`].

use serde_json::{Value, json};
use signalbox_crds::names::ANNOTATION_COMMAND;

use super::{Act, Options};
use crate::random::Random;
use crate::trigger::Ask;
use crate::user::{Meddling, Wish};

impl Options {
    pub(super) fn people(&mut self, random: &mut Random) {
        let many = random.in_thousand(30);
        let apps = if many {
            random.between(55, 70)
        } else {
            random.between(1, 4)
        };
        for app in 1..=apps {
            let name = format!("app-{app}");
            let mut schema = random
                .in_thousand(if many { 50 } else { 350 })
                .then(Schema::default);
            let mut at = random.below(if many { 3000 } else { 8000 });
            if let Some(schema) = &mut schema {
                let began = (at + random.below(3000)).saturating_sub(1500);
                self.user(began, &name, schema.more(random));
            }
            let create = create(random, schema.is_some().then_some(&*name));
            self.user(at, &name, create);
            let changes = random.below(if many { 3 } else { 9 });
            let mut asks = Vec::new();
            for number in 0..changes {
                let soon = random.in_thousand(400);
                at += random.between(1, if soon { 300 } else { 9000 });
                if at >= self.faults_end {
                    break;
                }
                match random.below(10) {
                    0..=2 => self.trigger(at, &name, number, &mut asks, random),
                    3 | 4 if let Some(schema) = &mut schema => {
                        self.schema(at, &name, schema, random);
                    }
                    _ => {
                        let of_schema = schema.is_some().then_some(&*name);
                        self.user(at, &name, change(random, of_schema));
                    }
                }
            }
        }
    }

    fn user(&mut self, at: u64, app: &str, wish: Wish) {
        self.timeline.push((at, Act::User(app.to_owned(), wish)));
    }

    /// More files, often with the release that needs them; or the migration is deleted and made anew.
    fn schema(&mut self, at: u64, app: &str, schema: &mut Schema, random: &mut Random) {
        match random.below(8) {
            0 => {
                self.user(at, app, Wish::DropMigration);
                let again = at + random.between(1, 5000);
                if again < self.faults_end {
                    self.user(again, app, Wish::Migrate(schema.files.clone()));
                } else {
                    self.user(at + 1, app, Wish::Migrate(schema.files.clone()));
                }
            }
            1 => self.user(at, app, Wish::Contract(random.in_thousand(500))),
            _ => {
                self.user(at, app, schema.more(random));
                if random.in_thousand(700) {
                    let soon = at + random.below(800);
                    self.user(soon, app, Wish::Change(json!({ "image": image(random) })));
                }
            }
        }
    }

    /// A trigger, a moment after it was made; one that was sent before, comes again now and then.
    fn trigger(
        &mut self,
        at: u64,
        app: &str,
        number: u64,
        asks: &mut Vec<Ask>,
        random: &mut Random,
    ) {
        let known = random.one_of(asks).cloned();
        // Now and then it has been under way for long: others were faster.
        let late = if random.in_thousand(200) { 15_000 } else { 50 };
        let ask = known
            .filter(|_| random.in_thousand(350))
            .unwrap_or_else(|| Ask {
                id: format!("{app}/{number}"),
                made_at: at.saturating_sub(random.below(late)),
                image: random.in_thousand(600).then(|| image_name(random)),
            });
        asks.push(ask.clone());
        if random.in_thousand(250) {
            let again = at + random.between(1, 4000);
            self.timeline
                .push((again, Act::Trigger(app.to_owned(), ask.clone())));
        }
        self.timeline.push((at, Act::Trigger(app.to_owned(), ask)));
    }
}

/// The files of a migration; they only become more.
#[derive(Default)]
struct Schema {
    files: Vec<String>,
}

impl Schema {
    fn more(&mut self, random: &mut Random) -> Wish {
        for _ in 0..random.between(1, 2) {
            let version = self.files.len() + 1;
            let what = if random.in_thousand(300) {
                "contract"
            } else {
                "expand"
            };
            self.files.push(format!("V{version}__{what}.sql"));
        }
        Wish::Migrate(self.files.clone())
    }
}

/// The image of a release; some never work.
fn image_name(random: &mut Random) -> String {
    let bad = random.in_thousand(150);
    let version = random.between(1, 5);
    let name = if bad { crate::controllers::BAD } else { "web" };
    format!("example.com/{name}:{version}")
}

fn image(random: &mut Random) -> Value {
    json!(image_name(random))
}

fn create(random: &mut Random, schema: Option<&str>) -> Wish {
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
    let mut set = |name: &str, value: Value| spec.insert(name.to_owned(), value);
    if let Some(app) = schema {
        set("migrations", json!({ "name": format!("{app}-schema") }));
    }
    if random.in_thousand(400) {
        let storage = if random.in_thousand(500) {
            "Delete"
        } else {
            "Retain"
        };
        let grace = random.below(4);
        set(
            "deletion",
            json!({ "gracePeriodSeconds": grace, "storage": storage }),
        );
    }
    if random.in_thousand(300) {
        set("storage", json!({ "size": "1Gi", "mountPath": "/data" }));
    }
    if random.in_thousand(300) {
        set("disruptionBudget", json!({ "maxUnavailable": "1" }));
    }
    if random.in_thousand(200) {
        set("autoscaling", json!({ "minReplicas": 1, "maxReplicas": 5 }));
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

fn change(random: &mut Random, schema: Option<&str>) -> Wish {
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
        10 => create(random, schema),
        _ => Wish::Annotate(ANNOTATION_COMMAND, "abort".to_owned()),
    }
}
