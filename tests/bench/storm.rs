//! A storm: every app changed again and again, as fast as the API server takes the changes.
//!
//! `raw` makes the needed writes of an app after its last change only, which no operator can know: a floor.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::bar::Bar;
use crate::bench::{Bench, in_turns};
use crate::contender::{Side, each, operators};
use crate::field::{Field, done, name};
use crate::fleet::{IN_FLIGHT, Took, create, middle};
use crate::needed::Known;
use crate::options::Raws;
use crate::report::Report;
use crate::usage::all;

/// How often the streams are looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// What a storm came to.
struct Passed {
    updating: f64,
    /// From the first change until the last app's status tells its newest generation.
    took: Took,
    /// By verb and resource.
    writes: HashMap<String, usize>,
    processes: Vec<&'static str>,
    peak: f64,
    /// Of the fullest stream, and flights at one time.
    bus: (f64, f64),
    course: Value,
}

pub(crate) async fn run(bench: &Bench, raws: Raws, report: &mut Report) {
    let (sides, storms) = (bench.sides(raws), bench.options.storms);
    let measure = async |side, _| measure(bench, side).await;
    let mut passed = Vec::new();
    for (side, storms) in in_turns("storm", sides, storms, report, measure).await {
        let seconds: Vec<f64> = storms.iter().map(|storm| storm.took.seconds).collect();
        let middle = middle(storms, |storm| storm.took.seconds);
        let detail = json!({
            "seconds": seconds, "course": middle.course, "writes": middle.writes,
            "othersCpu": middle.took.others,
        });
        report.detail(&format!("storm {}", side.name()), detail);
        passed.push((side, middle));
    }
    let updates = (bench.options.apps * bench.options.updates) as f64;
    report.row_rising(
        "storm",
        "accepted updates per second",
        "1/s",
        &each(&passed, |p| updates / p.updating),
    );
    report.row(
        "storm",
        "time of the updates",
        "s",
        &each(&passed, |p| p.updating),
    );
    let quiet = operators(&passed, |p| p.took.seconds - p.updating);
    report.row("storm", "from the last update to convergence", "s", &quiet);
    report.row_with(
        "storm",
        "total time",
        "s",
        &each(&passed, |p| p.took.seconds),
        Bar::TimesRaw(1.3),
    );
    let writes = operators(&passed, |p| done(&p.writes) as f64);
    // So many for so many apps; a small run has fewer.
    let allowed = 6.0 * bench.options.apps as f64;
    report.row_with(
        "storm",
        "writes of the operator",
        "",
        &writes,
        Bar::AtMost(allowed),
    );
    report.row(
        "storm",
        "CPU of all processes",
        "s",
        &each(&passed, |p| all(&p.took.cpu)),
    );
    report.row(
        "storm",
        "CPU of kube-apiserver",
        "s",
        &each(&passed, |p| p.took.cpu(&["kube-apiserver"])),
    );
    let cpu = operators(&passed, |p| p.took.cpu(&p.processes));
    report.row("storm", "CPU of the operator", "s", &cpu);
    report.row(
        "storm",
        "largest process, peak",
        "MiB",
        &operators(&passed, |p| p.peak),
    );
    for (side, p) in passed.iter().filter(|(_, p)| p.processes.len() > 1) {
        for part in &p.processes {
            let cpu = p.took.cpu(&[*part]);
            report.row("storm", format!("CPU of {part}"), "s", &[(*side, cpu)]);
        }
        let peaks = [
            ("messages in the fullest work stream", p.bus.0),
            ("flights at one time", p.bus.1),
        ];
        for (what, value) in peaks {
            report.row_with("storm", what, "", &[(*side, value)], Bar::AtMost(50.0));
        }
    }
}

async fn measure(bench: &Bench, side: Side) -> Result<Passed, String> {
    let field = bench.field("storm", side).await?;
    let (_, known) = create(bench, &field, 0..bench.options.apps).await;
    field.quiet().await;
    // What looks at the streams costs NATS something, which counts for Signalbox: rarely, and only where there is
    // something to see. The storm suite looks as often as it can.
    let sampler = field.operator.keeps_a_record();
    let sampler = sampler.then(|| field.bus.sample_every(SAMPLE_EVERY));
    let mark = field.audit.mark();
    let begun = jiff::Timestamp::now();
    let (updating, took) = pass(bench, &field, known).await;
    field.quiet().await;
    let bus = match sampler {
        Some(sampler) => {
            let peak = sampler.finish().await;
            (peak.stream as f64, peak.flights as f64)
        }
        None => (0.0, 0.0),
    };
    let usage = field.usage();
    let processes = field.operator.names();
    let memory = processes.iter().filter_map(|name| usage.of.get(*name));
    Ok(Passed {
        updating,
        writes: field.writes_since(mark),
        peak: memory.map(|usage| usage.peak).fold(0.0, f64::max),
        processes,
        took,
        bus,
        course: course(&field, mark, begun),
    })
}

async fn pass(bench: &Bench, field: &Field, known: Vec<Known>) -> (f64, Took) {
    let mut apps = field.eye("papp").await;
    let newest = Mutex::new(HashMap::<String, i64>::new());
    let (count, client) = (bench.options.apps, &field.writer);
    let rounds = bench.options.updates;
    // One lock each: two changes of an app may be under way at once, its needed writes come behind both.
    let known: Vec<_> = known.into_iter().map(tokio::sync::Mutex::new).collect();
    let before = field.usage();
    let started = Instant::now();
    futures::stream::iter(0..count * rounds)
        .for_each_concurrent(IN_FLIGHT, |number| {
            let (newest, client, known) = (&newest, client, known.get(number % count));
            async move {
                let (app, round) = (name(number % count), number / count);
                let config = json!({ "ROUND": round.to_string(), "NUMBER": number.to_string() });
                let changed = field.change(&app, json!({ "config": config })).await;
                if let (true, true, Some(known)) = (field.side.raw, round + 1 == rounds, known) {
                    let mut known = known.lock().await;
                    known.changed(&changed);
                    let needed = bench.needed(field.side);
                    needed.serve(client, &needed.config, &mut known).await;
                } else {
                    let generation = changed.metadata.generation.unwrap_or(0);
                    let mut newest = newest.lock().expect("no other holder panics");
                    let known = newest.entry(app).or_default();
                    *known = generation.max(*known);
                }
            }
        })
        .await;
    let updating = started.elapsed().as_secs_f64();
    let newest = newest.into_inner().expect("no holder panicked");
    let total = if field.side.raw {
        updating
    } else {
        (apps.until_observed(newest).await - started).as_secs_f64()
    };
    (updating, Took::since(field, &before, total))
}

/// Where the writes come from: status writes by second of the storm, and apps by their number of them.
fn course(field: &Field, mark: usize, begun: jiff::Timestamp) -> Value {
    let (mut by_second, mut of_app) = (BTreeMap::new(), HashMap::<String, u32>::new());
    for entry in field.audit.entries_since(mark) {
        let code = entry["responseStatus"]["code"].as_u64();
        let status = entry["objectRef"]["subresource"] == "status";
        if !status || code.is_none_or(|code| code >= 300) {
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
