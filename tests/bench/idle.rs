//! One change on an idle system: from just before it is sent until its child's event arrives.
//!
//! Each change is of another app, and the next one comes when nothing is under way. The sides take turns,
//! each on servers of its own, so that all meet the same noise of the machine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::bar::Bar;
use crate::bench::{Bench, each_in_turn};
use crate::contender::Side;
use crate::eye::Eye;
use crate::field::{Field, app_of, done, name};
use crate::figures::{ms, percentile};
use crate::fleet::{Took, create};
use crate::needed::{Known, REPLICAS};
use crate::options::Raws;
use crate::report::Report;
use crate::spans;
use crate::usage::Snapshot;

/// The first changes warm connections up and are not counted.
const WARM_UP: usize = 20;
/// After a change, so that what a side still does for it is not in the time of the next one. NATS is not asked
/// whether it is over: each question would be work for it, which counts for the operator.
const REST: Duration = Duration::from_millis(60);

/// Sees a change of a field to its end.
pub(crate) struct Eyes {
    apps: Eye,
    children: Eye,
}

impl Eyes {
    pub(crate) async fn open(field: &Field) -> Self {
        Self {
            apps: field.eye("papp").await,
            children: field.eye("deployment").await,
        }
    }

    /// Changes an app: milliseconds from just before it is sent until its child's event, and until its status'.
    pub(crate) async fn change(
        &mut self,
        bench: &Bench,
        field: &Field,
        known: &mut [Known],
        number: usize,
    ) -> (f64, f64) {
        let name = name(number);
        let started = Instant::now();
        bench.scale(field, known, number).await;
        let child = self.children.until_replicas(&name, REPLICAS).await;
        let status = self
            .apps
            .until(|seen| seen.name == name && seen.observed == seen.generation)
            .await;
        tokio::time::sleep(REST).await;
        (ms(child.at - started), ms(status.at - started))
    }
}

/// One side, its times in milliseconds.
pub(crate) struct Runner {
    field: Field,
    eyes: Eyes,
    /// The apps as the load generator knows them, where it makes the writes.
    known: Vec<Known>,
    mark: usize,
    since: Timestamp,
    before: Snapshot,
    began: Instant,
    child: Vec<f64>,
    status: Vec<f64>,
}

pub(crate) async fn run(bench: &Bench, report: &mut Report) {
    let sides = bench.sides(Raws::First).into_iter().map(|side| (side, ()));
    let start = async |side, ()| Runner::start(bench, side).await;
    let mut runners = each_in_turn("idle", sides.collect(), report, start).await;
    let changes = bench.options.changes;
    for number in 0..WARM_UP + changes {
        let change = async |_, mut runner: Runner| {
            if number == WARM_UP {
                runner.forget();
            }
            runner.change(bench, number).await;
            Ok(runner)
        };
        runners = each_in_turn("idle", runners, report, change).await;
    }
    let runners: Vec<Runner> = runners.into_iter().map(|(_, runner)| runner).collect();
    let took: Vec<Took> = runners
        .iter()
        .map(|runner| {
            let seconds = runner.began.elapsed().as_secs_f64();
            Took::since(&runner.field, &runner.before, seconds)
        })
        .collect();
    for runner in &runners {
        runner.field.quiet().await;
    }
    let at_rest = at_rest(bench, &runners).await;
    tell(&runners, report);
    let (mut writes, mut cpu) = (Vec::new(), Vec::new());
    for ((runner, took), at_rest) in runners
        .iter()
        .zip(&took)
        .zip(&at_rest)
        .filter(|((runner, _), _)| !runner.field.side.raw)
    {
        let side = runner.field.side;
        let done = done(&runner.field.writes_since(runner.mark)) as f64;
        writes.push((side, done / changes as f64));
        let names = runner.field.operator.names();
        cpu.push((side, per_change(took, at_rest, &names, changes)));
    }
    report.row_with("idle", "writes per change", "", &writes, Bar::AtMost(2.0));
    let bar = Bar::TimesPeer("controller-runtime", 1.5);
    report.row_with("idle", "CPU of the operator per change", "ms", &cpu, bar);
    for ((runner, took), at_rest) in runners.iter().zip(&took).zip(&at_rest) {
        let names = runner.field.operator.names();
        for process in names.iter().filter(|_| names.len() > 1) {
            let cpu = per_change(took, at_rest, &[*process], changes);
            let what = format!("CPU of {process} per change");
            report.row("idle", what, "ms", &[(runner.field.side, cpu)]);
        }
    }
    for runner in &runners {
        spans(runner, report).await;
    }
    let times = runners.iter().map(|runner| {
        json!({ "side": runner.field.side.name(), "child": runner.child, "status": runner.status })
    });
    report.detail("idle", json!(times.collect::<Vec<_>>()));
}

/// What each side uses while nothing happens: in the turns of the others it uses that as well.
async fn at_rest(bench: &Bench, runners: &[Runner]) -> Vec<Took> {
    let time = bench.options.quiet();
    let before: Vec<Snapshot> = runners.iter().map(|runner| runner.field.usage()).collect();
    tokio::time::sleep(time).await;
    let each = runners.iter().zip(&before);
    each.map(|(runner, before)| Took::since(&runner.field, before, time.as_secs_f64()))
        .collect()
}

/// Processor time of a change in milliseconds, without what is used while nothing happens.
fn per_change(took: &Took, at_rest: &Took, processes: &[&'static str], changes: usize) -> f64 {
    let idle = at_rest.cpu(processes) / at_rest.seconds * took.seconds;
    ((took.cpu(processes) - idle) / changes as f64 * 1000.0).max(0.0)
}

/// Where the time of a change goes, if the operator keeps a record.
async fn spans(runner: &Runner, report: &mut Report) {
    if !runner.field.operator.keeps_a_record() {
        return;
    }
    let all = spans::of(&runner.field, runner.mark, runner.since).await;
    for (place, span) in spans::SPANS.into_iter().enumerate() {
        let times: Vec<f64> = all
            .iter()
            .filter_map(|spans| spans.get(place).copied())
            .collect();
        let middle = percentile(&times, 50).map(|time| (runner.field.side, time));
        report.row("idle", format!("p50: {span}"), "ms", middle.as_slice());
    }
}

fn tell(runners: &[Runner], report: &mut Report) {
    let gaps: Vec<Vec<f64>> = runners.iter().map(Runner::gaps).collect();
    let of = |times: &dyn Fn(usize, &Runner) -> Option<f64>| -> Vec<(Side, f64)> {
        let all = runners.iter().enumerate();
        all.filter_map(|(place, runner)| Some((runner.field.side, times(place, runner)?)))
            .collect()
    };
    for (percent, allowed) in [(50, 3.0), (95, 10.0)] {
        let child = of(&|_, runner| percentile(&runner.child, percent));
        let what = format!("change → child, p{percent}");
        report.row_with("idle", what, "ms", &child, Bar::PeerPlus(allowed));
        // A tenth more of the few slowest is chance.
        report.never_kept_if(percent > 50);
        let status = of(&|_, runner| percentile(&runner.status, percent));
        let what = format!("change → status, p{percent}");
        report.row("idle", what, "ms", &status);
        report.never_kept_if(percent > 50);
        let gap = of(&|place, _| percentile(gaps.get(place)?, percent));
        let what = format!("answer to the change → child's request, p{percent}");
        report.row("idle", what, "ms", &gap);
        // An operator may have seen the change before it is answered.
        report.never_kept_if(true);
    }
}

impl Runner {
    /// Fresh servers with all apps served.
    async fn start(bench: &Bench, side: Side) -> Result<Self, String> {
        let field = bench.field("idle", side).await?;
        let (_, known) = create(bench, &field, 0..WARM_UP + bench.options.changes).await;
        field.quiet().await;
        Ok(Self {
            eyes: Eyes::open(&field).await,
            mark: field.audit.mark(),
            since: Timestamp::now(),
            before: field.usage(),
            began: Instant::now(),
            field,
            known,
            child: Vec::new(),
            status: Vec::new(),
        })
    }

    /// What was measured so far does not count.
    fn forget(&mut self) {
        self.child.clear();
        self.status.clear();
        self.mark = self.field.audit.mark();
        self.since = Timestamp::now();
        self.before = self.field.usage();
        self.began = Instant::now();
    }

    /// By the API server's clock, from its answer to each change until the request for the child came in: what
    /// lies between its own work on the two.
    fn gaps(&self) -> Vec<f64> {
        let mut answered = HashMap::<String, Timestamp>::new();
        let mut gaps = Vec::new();
        for entry in self.field.audit.entries_since(self.mark) {
            let time = |field: &str| entry[field].as_str().and_then(|text| text.parse().ok());
            let about = &entry["objectRef"];
            let object = about["name"].as_str().unwrap_or_default();
            let app = app_of(object).to_owned();
            let is_write = matches!(entry["verb"].as_str(), Some("patch" | "update"));
            if about["resource"] == "deployments" && is_write {
                let received: Option<Timestamp> = time("requestReceivedTimestamp");
                if let (Some(answered), Some(received)) = (answered.remove(&app), received) {
                    gaps.push(received.duration_since(answered).as_secs_f64() * 1000.0);
                }
            } else if about["resource"] == "portfolioapps"
                && about["subresource"].is_null()
                && entry["user"]["username"] == "admin"
                && is_write
                && let Some(time) = time("stageTimestamp")
            {
                answered.insert(app, time);
            }
        }
        gaps
    }

    /// Changes an app and sees it to its end.
    async fn change(&mut self, bench: &Bench, number: usize) {
        let times = self
            .eyes
            .change(bench, &self.field, &mut self.known, number);
        let (child, status) = times.await;
        self.child.push(child);
        self.status.push(status);
    }
}
