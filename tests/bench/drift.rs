//! Children that somebody deletes: until each is there again.
//!
//! That takes half a second, less than this kind of machine keeps its speed: the sides take turns, each on servers of its
//! own, and each one's middle round counts.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use futures::StreamExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::bar::Bar;
use crate::bench::{Bench, each_in_turn};
use crate::contender::{Side, each, operators};
use crate::field::{Field, app_of, done, name};
use crate::figures::percentile;
use crate::fleet::{IN_FLIGHT, Took, create, middle};
use crate::needed::Known;
use crate::options::Raws;
use crate::report::Report;

/// What a round came to.
struct Restored {
    took: Took,
    /// Seconds from each deletion's answer until the child is seen again.
    each: Vec<f64>,
    writes: f64,
}

/// One side with its fleet.
struct Runner {
    field: Field,
    /// The apps as the load generator knows them, where it makes the writes.
    known: HashMap<String, Known>,
    rounds: Vec<Restored>,
}

pub(crate) async fn run(bench: &Bench, raws: Raws, report: &mut Report) {
    let sides = bench.sides(raws).into_iter().map(|side| (side, ()));
    let start = async |side, ()| Runner::start(bench, side).await;
    let mut runners = each_in_turn("drift", sides.collect(), report, start).await;
    for _ in 0..bench.options.drifts {
        let round = async |_, mut runner: Runner| {
            runner.round(bench).await?;
            Ok(runner)
        };
        runners = each_in_turn("drift", runners, report, round).await;
    }
    let mut restored = Vec::new();
    for (side, Runner { rounds, .. }) in runners {
        let seconds: Vec<f64> = rounds.iter().map(|round| round.took.seconds).collect();
        let middle = middle(rounds, |round| round.took.seconds);
        let each: Vec<f64> = middle.each.iter().map(|s| s * 1000.0).collect();
        let detail =
            json!({ "seconds": seconds, "middle": middle.took.detail(), "restoredMs": each });
        report.detail(&format!("drift {}", side.name()), detail);
        restored.push((side, middle));
    }
    let what = format!("{} Deployments deleted and restored", bench.options.deleted);
    report.row_with(
        "drift",
        what,
        "s",
        &each(&restored, |r| r.took.seconds),
        Bar::TimesRaw(1.0),
    );
    let slow = each(&restored, |r| percentile(&r.each, 95).unwrap_or(0.0));
    report.row_with("drift", "restored, p95", "s", &slow, Bar::AtMost(5.0));
    report.never_kept_if(true);
    let deleted = bench.options.deleted as f64;
    report.row(
        "drift",
        "writes per child",
        "",
        &operators(&restored, |r| r.writes / deleted),
    );
}

impl Runner {
    /// Fresh servers with all apps served.
    async fn start(bench: &Bench, side: Side) -> Result<Self, String> {
        let field = bench.field("drift", side).await?;
        let (_, known) = create(bench, &field, 0..bench.options.apps).await;
        field.quiet().await;
        Ok(Self {
            field,
            known: (0..).map(name).zip(known).collect(),
            rounds: Vec::new(),
        })
    }

    /// The Deployments that are deleted, with their uids.
    async fn children(&self, deleted: usize) -> Result<HashMap<String, String>, String> {
        let of_fleet: HashSet<String> = (0..deleted).map(name).collect();
        let api = self.field.objects.api("deployment");
        let children = api.list(&ListParams::default()).await.expect("a list");
        let children: HashMap<_, _> = children
            .into_iter()
            .filter_map(|child| Some((child.metadata.name?, child.metadata.uid?)))
            .filter(|(child, _)| of_fleet.contains(app_of(child)))
            .collect();
        let found = children.len();
        let enough = found >= deleted;
        let few = || format!("{found} Deployments of {deleted} apps");
        enough.then_some(children).ok_or_else(few)
    }

    /// Deletes them and sees each come back.
    async fn round(&mut self, bench: &Bench) -> Result<(), String> {
        let mut gone = self.children(bench.options.deleted).await?;
        let with_known: Vec<_> = gone
            .keys()
            .map(|child| (child.clone(), self.known.remove(app_of(child))))
            .collect();
        let field = &self.field;
        let api = field.objects.api("deployment");
        let mut eye = field.eye("deployment").await;
        let (mark, before, started) = (field.audit.mark(), field.usage(), Instant::now());
        let deleted: Vec<_> = futures::stream::iter(with_known)
            .map(|(child, mut known)| {
                let api = &api;
                async move {
                    let deleted = api.delete(&child, &DeleteParams::default()).await;
                    deleted.expect("a child can be deleted");
                    let at = Instant::now();
                    if let (true, Some(known)) = (field.side.raw, &mut known) {
                        restore(bench, field, known).await;
                    }
                    (child, at, known)
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        let mut since = HashMap::new();
        for (child, at, known) in deleted {
            let known = known.map(|known| (app_of(&child).to_owned(), known));
            self.known.extend(known);
            since.insert(child, at);
        }
        let (mut each, mut last) = (Vec::new(), started);
        while !gone.is_empty() {
            let back = |name: &str, uid: &str| gone.get(name).is_some_and(|old| old != uid);
            let seen = eye.until(|seen| back(&seen.name, &seen.uid)).await;
            gone.remove(&seen.name);
            last = seen.at;
            let since = since.get(&seen.name).expect("it was deleted");
            // Its event may come before the answer to the deletion.
            each.push(seen.at.saturating_duration_since(*since).as_secs_f64());
        }
        let took = Took::since(field, &before, (last - started).as_secs_f64());
        field.quiet().await;
        self.rounds.push(Restored {
            took,
            each,
            writes: done(&field.writes_since(mark)) as f64,
        });
        Ok(())
    }
}

/// The needed write of a deleted Deployment: that which made it.
async fn restore(bench: &Bench, field: &Field, known: &mut Known) {
    let needed = bench.needed(field.side);
    let makes = |write: &&crate::writes::Write| write.path.contains("/deployments/");
    let writes: Vec<_> = needed.create.iter().filter(makes).cloned().collect();
    known.forget("/deployments/");
    needed.serve(&field.writer, &writes, known).await;
}
