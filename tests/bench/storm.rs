//! A storm: every app changed again and again, as fast as the API server takes the changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Instant;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::create::{OWN, memory};
use crate::field::{Field, Side, done, name};
use crate::needed::{Needed, Stored};
use crate::report::Report;
use crate::usage::all;
use crate::{APPS, IN_FLIGHT};

/// Changes of all apps together.
const UPDATES: usize = 10_000;

/// What a storm came to.
struct Passed {
    updating: f64,
    /// From the first change until the last app's status tells its newest generation.
    total: f64,
    cpu: BTreeMap<String, f64>,
    others: f64,
}

pub(crate) async fn run(needed: &Needed, report: &mut Report) {
    let field = Field::start("storm", Side::Signalbox).await;
    prepare(needed, &field).await;
    let sampler = field.bus.sample();
    let mark = field.audit.mark();
    let begun = jiff::Timestamp::now();
    let ours = pass(&field).await;
    field.quiet().await;
    let peak = sampler.finish().await;
    let writes = field.writes_since(mark);
    let course = course(&field, mark, begun);
    let usage = field.usage();
    drop(field);
    let field = Field::start("storm", Side::Raw).await;
    prepare(needed, &field).await;
    let raw = pass(&field).await;

    let updates = UPDATES as f64;
    let pair = (Some(updates / raw.updating), updates / ours.updating);
    report.row("storm", "accepted updates per second", "1/s", pair, "");
    let pair = (Some(raw.updating), ours.updating);
    report.row("storm", "time of the updates", "s", pair, "");
    let pair = (None, ours.total - ours.updating);
    report.row(
        "storm",
        "from the last update to convergence",
        "s",
        pair,
        "",
    );
    let pair = (Some(raw.updating), ours.total);
    report.row("storm", "total time", "s", pair, "");
    let pair = (None, done(&writes) as f64);
    report.row("storm", "writes of the operator", "", pair, "≤ 3,000");
    let pair = (None, peak.stream as f64);
    report.row(
        "storm",
        "messages in the fullest work stream",
        "",
        pair,
        "≤ 50",
    );
    let pair = (None, peak.flights as f64);
    report.row("storm", "flights at one time", "", pair, "≤ 50");
    let pair = (Some(all(&raw.cpu)), all(&ours.cpu));
    report.row("storm", "CPU of all processes", "s", pair, "");
    let of = |passed: &Passed, process: &str| passed.cpu.get(process).copied().unwrap_or(0.0);
    for process in ["kube-apiserver", "etcd"] {
        let pair = (Some(of(&raw, process)), of(&ours, process));
        report.row("storm", format!("CPU of {process}"), "s", pair, "");
    }
    for process in OWN {
        let pair = (None, of(&ours, process));
        report.row("storm", format!("CPU of {process}"), "s", pair, "");
    }
    memory(&usage, report, "storm");
    report.detail(
        "storm",
        json!({
            "writes": writes, "samples": peak.samples, "statusWrites": course,
            "othersCpu": { "raw": raw.others, "signalbox": ours.others },
        }),
    );
}

/// Where the writes come from: status writes by second of the storm, and apps by their number of them.
fn course(field: &Field, mark: usize, begun: jiff::Timestamp) -> Value {
    let (mut by_second, mut of_app) = (BTreeMap::new(), HashMap::<String, u32>::new());
    for entry in field.entries_since(mark) {
        let code = entry["responseStatus"]["code"].as_u64();
        let status = entry["objectRef"]["subresource"] == "status";
        if !status || entry["verb"] != "patch" || code.is_none_or(|code| code >= 300) {
            continue;
        }
        let name = entry["objectRef"]["name"].as_str().unwrap_or_default();
        *of_app.entry(name.to_owned()).or_default() += 1;
        let at = entry["stageTimestamp"].as_str().unwrap_or_default();
        if let Ok(at) = at.parse::<jiff::Timestamp>() {
            let second = at.duration_since(begun).as_secs();
            *by_second.entry(second).or_insert(0_u32) += 1;
        }
    }
    let mut apps = BTreeMap::<u32, u32>::new();
    for count in of_app.into_values() {
        *apps.entry(count).or_default() += 1;
    }
    json!({ "bySecond": by_second, "appsByNumber": apps })
}

/// All apps, served.
async fn prepare(needed: &Needed, field: &Field) {
    let client = &field.client();
    let mut apps = field.eye("papp").await;
    futures::stream::iter(0..APPS)
        .for_each_concurrent(IN_FLIGHT, |number| async move {
            let app = field.create(&name(number)).await;
            if field.side == Side::Raw {
                let stored = Stored::of(&app);
                needed.serve_new(client, &name(number), &stored).await;
            }
        })
        .await;
    let all = (0..APPS).map(|number| (name(number), 1)).collect();
    apps.until_observed(all).await;
    field.quiet().await;
}

async fn pass(field: &Field) -> Passed {
    let mut apps = field.eye("papp").await;
    let newest = Mutex::new(HashMap::<String, i64>::new());
    let before = field.usage();
    let started = Instant::now();
    futures::stream::iter(0..UPDATES)
        .for_each_concurrent(IN_FLIGHT, |number| {
            let newest = &newest;
            async move {
                let name = name(number % APPS);
                let round = (number / APPS).to_string();
                let config = json!({ "ROUND": round, "NUMBER": number.to_string() });
                let app = field.change(&name, json!({ "config": config })).await;
                let generation = app.metadata.generation.unwrap_or(0);
                let mut newest = newest.lock().expect("no other holder panics");
                let known = newest.entry(name).or_default();
                *known = generation.max(*known);
            }
        })
        .await;
    let updating = started.elapsed().as_secs_f64();
    let newest = newest.into_inner().expect("no holder panicked");
    let total = match field.side {
        Side::Raw => updating,
        Side::Signalbox => (apps.until_observed(newest).await - started).as_secs_f64(),
    };
    let after = field.usage();
    Passed {
        updating,
        total,
        cpu: after.cpu_since(&before),
        others: after.others_since(&before),
    }
}
