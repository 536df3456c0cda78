//! Many new apps at once: until each has its four writes; then memory, and what a quiet fleet costs.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;

use crate::field::{Field, Side, done, name};
use crate::needed::{Needed, Stored};
use crate::report::Report;
use crate::usage::{Snapshot, all};
use crate::{APPS, IN_FLIGHT};

/// Each side creates them so often, in turns and on fresh servers; the middle one counts.
const ROUNDS: usize = 3;
/// How long a fleet is watched when nothing changes.
const QUIET: Duration = Duration::from_secs(30);
/// The processes of Signalbox.
pub(crate) const OWN: [&str; 4] = ["watcher", "planner", "executor", "nats-server"];

pub(crate) async fn run(needed: &Needed, report: &mut Report) {
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 1..ROUNDS {
        ours.push(measure(needed, &Field::start("create", Side::Signalbox).await).await);
        raw.push(measure(needed, &Field::start("create", Side::Raw).await).await);
    }
    raw.push(measure(needed, &Field::start("create", Side::Raw).await).await);
    let field = Field::start("create", Side::Signalbox).await;
    let mark = field.audit.mark();
    ours.push(measure(needed, &field).await);
    field.quiet().await;
    let writes = field.writes_since(mark);
    let settled = field.usage();
    tokio::time::sleep(QUIET).await;
    let rested = field.usage();
    drop(field);
    let rounds = [seconds(&raw), seconds(&ours)];
    let (raw, ours) = (middle(raw), middle(ours));

    let what = format!("{APPS} new apps");
    let pair = (Some(raw.seconds), ours.seconds);
    report.row("create", what, "s", pair, "≤ 1.3 ×");
    let per_app = done(&writes) as f64 / APPS as f64;
    report.row("create", "writes per app", "", (Some(4.0), per_app), "4.00");
    let pair = (Some(all(&raw.cpu)), all(&ours.cpu));
    report.row("create", "CPU of all processes", "s", pair, "");
    for process in ["kube-apiserver", "etcd", "load generator"] {
        let pair = (Some(raw.cpu(process)), ours.cpu(process));
        report.row("create", format!("CPU of {process}"), "s", pair, "");
    }
    for process in OWN {
        let pair = (None, ours.cpu(process));
        report.row("create", format!("CPU of {process}"), "s", pair, "");
    }
    memory(&settled, report, "create");
    let cpu = rested.cpu_since(&settled);
    let quiet: f64 = OWN.iter().filter_map(|process| cpu.get(*process)).sum();
    let percent = quiet / QUIET.as_secs_f64() * 100.0;
    report.row(
        "quiet",
        "CPU of all parts and NATS",
        "% of a core",
        (None, percent),
        "≤ 2",
    );
    report.detail(
        "create",
        json!({
            "writes": writes, "seconds": { "raw": rounds[0], "signalbox": rounds[1] }, "quietCpu": cpu,
            "othersCpu": { "raw": raw.others, "signalbox": ours.others },
        }),
    );
}

/// Rows of memory.
pub(crate) fn memory(usage: &Snapshot, report: &mut Report, scenario: &'static str) {
    for process in OWN {
        let usage = usage.of.get(process).copied().unwrap_or_default();
        let rows = [
            ("resident", usage.resident, ""),
            ("peak", usage.peak, "≤ 64"),
        ];
        for (what, value, expected) in rows {
            let what = format!("{process} {what}, {APPS} apps");
            report.row(scenario, what, "MiB", (None, value), expected);
        }
    }
}

/// One side's time and what it took of the processors.
struct Took {
    seconds: f64,
    cpu: std::collections::BTreeMap<String, f64>,
    others: f64,
}

fn seconds(rounds: &[Took]) -> Vec<f64> {
    rounds.iter().map(|took| took.seconds).collect()
}

/// The round that took the middle time.
fn middle(mut rounds: Vec<Took>) -> Took {
    rounds.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    rounds.swap_remove(rounds.len() / 2)
}

impl Took {
    fn cpu(&self, process: &str) -> f64 {
        self.cpu.get(process).copied().unwrap_or(0.0)
    }
}

async fn measure(needed: &Needed, field: &Field) -> Took {
    let client = &field.client();
    let mut apps = field.eye("papp").await;
    let before = field.usage();
    let started = Instant::now();
    futures::stream::iter(0..APPS)
        .for_each_concurrent(IN_FLIGHT, |number| async move {
            let name = name(number);
            let app = field.create(&name).await;
            if field.side == Side::Raw {
                needed.serve_new(client, &name, &Stored::of(&app)).await;
            }
        })
        .await;
    let all = (0..APPS).map(|number| (name(number), 1)).collect();
    let last = apps.until_observed(all).await;
    let after = field.usage();
    Took {
        seconds: (last - started).as_secs_f64(),
        cpu: after.cpu_since(&before),
        others: after.others_since(&before),
    }
}
