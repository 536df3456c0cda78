//! Rights that are taken away rule by rule and verb by verb from a fleet that is being changed, and given back.
//!
//! All of the table by `SIGNALBOX_REVOKED=all`, those from its 43rd on by `SIGNALBOX_REVOKED=43`, else a few that a seed
//! draws.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_common::rights::{Component, Rule};
use signalbox_tests::figures::figure;
use signalbox_tests::fixtures::{app, database_secret, migration};
use signalbox_tests::objects::ready;
use signalbox_tests::{Objects, Part, PartProcess, World, WorldOptions, eventually};

use crate::PATIENCE;

/// How many are drawn.
const DRAWN: usize = 4;
/// How long a right is away, at least.
const AWAY: Duration = Duration::from_secs(4);
/// How long it is waited for a word about it.
const TOLD: Duration = Duration::from_secs(40);
/// Within this time after a right is back all is well.
const HEALED: Duration = Duration::from_secs(30);
/// Refusals of one object and right within a minute.
const REFUSALS: usize = 6;
/// As many more come of the first, short backoffs.
const FIRST: usize = 4;
const LINES: &str = "  config: { LEVEL: info }
  autoscaling: { minReplicas: 1, maxReplicas: 3 }
  disruptionBudget: { minAvailable: '1' }
  rollout: { steps: [{ weight: 50 }], drainSeconds: 0, historyLimit: 1 }";

/// One verb of one rule.
#[derive(Clone, Copy, Debug)]
struct Right {
    component: Component,
    /// Of the component's rules in its own namespace.
    own: bool,
    rule: usize,
    verb: &'static str,
}

fn rules(component: Component, own: bool) -> Vec<Rule> {
    if own {
        component.own_rules()
    } else {
        component.rules()
    }
}

/// The whole table of the parts that run.
fn table() -> Vec<Right> {
    let mut all = Vec::new();
    for component in [Component::Watcher, Component::Executor] {
        for own in [false, true] {
            for (number, rule) in rules(component, own).iter().enumerate() {
                let rights = rule.verbs.iter().map(|verb| Right {
                    component,
                    own,
                    rule: number,
                    verb,
                });
                all.extend(rights);
            }
        }
    }
    all
}

/// Those to be walked: all, or some that a seed draws.
fn drawn() -> Vec<Right> {
    let all = table();
    match std::env::var("SIGNALBOX_REVOKED").as_deref() {
        Ok("all") => return all,
        Ok(first) => {
            let first: usize = first.parse().expect("all, or a number of the table");
            return all.into_iter().skip(first - 1).collect();
        }
        Err(_) => {}
    }
    let seed = std::env::var("SIGNALBOX_SEED").map_or(7, |text| text.parse().unwrap());
    let step = all.len() / DRAWN;
    (0..DRAWN)
        .map(|number| all[(seed * 13 + number * step) % all.len()])
        .collect()
}

impl Right {
    fn of(self) -> Rule {
        rules(self.component, self.own)[self.rule].clone()
    }

    fn resource(self) -> String {
        let rule = self.of();
        match rule.subresource {
            None => rule.resource.to_owned(),
            Some(sub) => format!("{}/{sub}", rule.resource),
        }
    }

    /// Gives the component its rules, without this right if it is `away`.
    async fn grant(self, world: &World, away: bool) {
        let mut rules = rules(self.component, self.own);
        let verbs: Vec<_> = rules[self.rule].verbs.to_vec();
        let kept = verbs.into_iter().filter(|verb| !away || *verb != self.verb);
        let kept: Vec<&str> = kept.collect();
        rules[self.rule].verbs = Box::leak(kept.into_boxed_slice());
        let rules = rules.iter().filter(|rule| !rule.verbs.is_empty()).map(|rule| {
            let sub = rule.subresource.map_or_else(String::new, |sub| format!("/{sub}"));
            json!({"apiGroups": [rule.group], "resources": [format!("{}{sub}", rule.resource)], "verbs": rule.verbs})
        });
        let patch = json!({"rules": rules.collect::<Vec<_>>()}).to_string();
        let name = format!("signalbox-{}", self.component.account());
        let role = if self.own {
            vec!["role", &name, "-n", "signalbox-system"]
        } else {
            vec!["clusterrole", &name]
        };
        let arguments = [&["patch"], role.as_slice(), &["--type=merge", "-p", &patch]].concat();
        world.cluster.kubectl(&arguments).await.unwrap();
    }
}

/// Requests of the component that were refused for want of this right since `mark`, by object.
fn refusals(world: &World, right: Right, mark: usize) -> BTreeMap<String, usize> {
    let mut refused = BTreeMap::new();
    let user = right.component.user();
    for entry in world.audit().entries_since(mark) {
        let reason = entry["annotations"]["authorization.k8s.io/reason"].as_str();
        let denied = entry["annotations"]["authorization.k8s.io/decision"] == "forbid"
            || entry["responseStatus"]["code"] == 403 && reason.is_none_or(str::is_empty);
        if entry["user"]["username"] == user.as_str() && denied {
            let target = &entry["objectRef"];
            let object = format!("{}/{}", target["namespace"], target["name"]);
            *refused
                .entry(format!("{} {object}", entry["verb"]))
                .or_default() += 1;
        }
    }
    refused
}

/// Changes that need every kind of write; returns how many apps there should be.
async fn change(world: &World, objects: &Objects, round: usize) {
    let space = &objects.namespace;
    let image = format!("example/orders:{round}");
    objects.image("orders-0", &image).await;
    let toggled = if round.is_multiple_of(2) {
        json!({"spec": {"autoscaling": null, "disruptionBudget": null}})
    } else {
        json!({"spec": {"autoscaling": {"minReplicas": 1, "maxReplicas": 3}, "disruptionBudget": {"minAvailable": "1"}}})
    };
    objects.patch("papp", "orders-1", toggled).await;
    for kind in ["service", "hpa", "pdb"] {
        objects.delete(kind, "orders-0").await;
    }
    let edit = json!({"spec": {"publishNotReadyAddresses": true}});
    objects.patch("service", "orders-2", edit).await;
    world
        .apply(&app(space, &format!("fresh-{round}"), &image, LINES))
        .await;
    let file = format!("  - name: V{round}__t.sql\n    sql: CREATE TABLE t{round} (id int)");
    world
        .apply(&migration(space, &format!("schema-{round}"), None, &file))
        .await;
    if round > 1 {
        objects
            .delete("papp", &format!("fresh-{}", round - 1))
            .await;
    }
}

/// Whether anybody tells of the refusal: the status of an object, or the part that was refused.
async fn is_told(objects: &Objects, part: &PartProcess, right: Right) -> Result<(), String> {
    let resource = right.resource();
    let mut told = vec![part.answer("/readyz").await.1];
    for kind in ["papp", "dbm"] {
        let live = objects.list(kind).await;
        told.extend(live.iter().map(|live| live["status"].to_string()));
    }
    let named = |text: &String| {
        let verb = [" cannot ", ": ", " "].map(|before| format!("{before}{} ", right.verb));
        text.contains("orbidden")
            && text.contains(&resource)
            && verb.iter().any(|v| text.contains(v))
    };
    if told.iter().any(named) {
        Ok(())
    } else {
        Err(told.join("\n"))
    }
}

/// Everything serves its newest generation and nothing is in flight.
async fn is_well(world: &World, objects: &Objects, parts: &[PartProcess]) -> Result<(), String> {
    for part in parts {
        let (code, text) = part.answer("/readyz").await;
        if code != 200 {
            return Err(format!("{}: {text}", part.instance));
        }
    }
    for kind in ["papp", "dbm"] {
        for live in objects.list(kind).await {
            ready(&live)?;
            let failed = live["status"]["lastFailure"].is_object();
            if failed || live["status"]["stable"] != live["status"]["revision"] && kind == "papp" {
                return Err(live["status"].to_string());
            }
            if live["metadata"]["deletionTimestamp"].is_string() {
                return Err(Value::to_string(&live["metadata"]));
            }
        }
    }
    world.bus().await.is_free().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_is_taken_away_is_named_and_costs_little() {
    let world = World::start("steady-revoked", WorldOptions::PODS_AND_DATABASES).await;
    let mut parts = world.parts();
    let objects = world.namespace(&["ledger-db"]).await;
    let url = world.cluster.create_database("ledger").await.unwrap();
    world
        .apply(&database_secret(&objects.namespace, &url))
        .await;
    let documents = (0..3).map(|number| {
        let name = format!("orders-{number}");
        app(&objects.namespace, &name, "example/orders:0", LINES)
    });
    world
        .apply(&documents.collect::<Vec<_>>().join("---"))
        .await;
    let well = |what: String, limit| {
        let (world, objects) = (&world, &objects);
        async move |parts: &[PartProcess]| {
            eventually(&what, limit, || is_well(world, objects, parts)).await;
        }
    };
    well("the fleet is well".to_owned(), PATIENCE)(&parts).await;
    let (mut needed, mut most, mut slowest) = (0, 0, Duration::ZERO);
    let rights = drawn();
    for (number, right) in rights.iter().enumerate() {
        let round = number + 1;
        println!(
            "{round}: {} {} of {:?}",
            right.verb,
            right.resource(),
            right.component
        );
        right.grant(&world, true).await;
        let mark = world.audit().mark();
        let begun = Instant::now();
        let at = usize::from(right.component == Component::Executor) * 2;
        if right.component == Component::Watcher {
            // A watch that runs is not asked again for its right.
            parts[at].terminate().await;
            parts[at] = world.part(Part::Watcher);
        }
        change(&world, &objects, round).await;
        tokio::time::sleep(AWAY).await;
        let refused = refusals(&world, *right, mark);
        if !refused.is_empty() {
            needed += 1;
            let what = format!("somebody tells of {right:?}: {refused:?}");
            eventually(&what, TOLD, || is_told(&objects, &parts[at], *right)).await;
        }
        let refused = refusals(&world, *right, mark);
        let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap() + 1;
        let worst = refused.values().max().copied().unwrap_or(0);
        most = most.max(worst.div_ceil(minutes));
        assert!(
            worst <= FIRST + REFUSALS * minutes,
            "{right:?}: {refused:?}"
        );
        right.grant(&world, false).await;
        let back = Instant::now();
        well(
            format!("all is well without having lost {right:?}"),
            PATIENCE,
        )(&parts)
        .await;
        slowest = slowest.max(back.elapsed());
    }
    figure("revoked-rights-walked", rights.len(), "rights");
    figure("revoked-rights-needed", needed, "rights");
    figure("revoked-refusals-most", most, "per object and minute");
    figure("revoked-healed-slowest", slowest.as_secs_f64(), "s");
    assert!(needed > 0, "no right was missed");
    assert!(slowest <= HEALED, "{slowest:?}");
}
