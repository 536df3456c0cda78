//! More and more apps on the same servers: memory, processor time while quiet, one change; and on the way, with
//! many converged apps, restarts.

use std::time::Duration;

use serde_json::json;

use crate::bar::Bar;
use crate::bench::{Bench, attempt};
use crate::contender::Side;
use crate::field::Field;
use crate::figures::percentile;
use crate::fleet::{Took, create};
use crate::idle::Eyes;
use crate::needed::Known;
use crate::options::{Raws, Scenario};
use crate::report::Report;
use crate::restart::{self, Restarted};
use crate::usage::Snapshot;

/// Changes at each number of apps.
const CHANGES: usize = 20;
/// How long a grown fleet is watched when nothing changes, at most.
const QUIET: Duration = Duration::from_secs(10);

/// What was seen with a number of apps.
struct Step {
    apps: usize,
    /// Seconds in which all of them were made, pauses apart.
    seconds: f64,
    /// What the newest of them took.
    newest: Took,
    settled: Snapshot,
    /// Share of a core.
    quiet: f64,
    /// Milliseconds until the child of a change.
    child: Vec<f64>,
}

/// One side's way.
#[derive(Default)]
struct Grown {
    processes: Vec<&'static str>,
    steps: Vec<Step>,
    /// None if it was not asked for.
    restarted: Option<Result<Restarted, String>>,
}

pub(crate) async fn run(bench: &Bench, report: &mut Report) {
    let growth = bench.options.wants(Scenario::Growth);
    let mut grown = Vec::new();
    let raws = if growth {
        bench.sides(Raws::First)
    } else {
        bench.operators()
    };
    for side in raws {
        let mut way = Grown::default();
        if let Err(reason) = attempt(grow(bench, side, &mut way)).await {
            if growth {
                report.missing("growth", side, reason.clone());
            }
            if bench.options.wants(Scenario::Restart) && !side.raw {
                way.restarted.get_or_insert(Err(reason));
            }
        }
        grown.push((side, way));
    }
    let mut restarted = Vec::new();
    for (side, way) in &mut grown {
        match way.restarted.take() {
            Some(Ok(done)) => restarted.push((*side, done)),
            Some(Err(reason)) => report.missing("restart", *side, reason),
            None => {}
        }
    }
    restart::tell(&restarted, report);
    if growth {
        tell(&grown, report);
    }
}

/// Numbers of apps on the way; restarts are at the last but one.
fn steps(bench: &Bench) -> (Vec<usize>, usize) {
    let steps = bench.options.steps.clone();
    let many = steps.iter().rev().nth(1).or(steps.last());
    let many = many.copied().expect("there is a number of apps");
    if bench.options.wants(Scenario::Growth) {
        (steps, many)
    } else {
        (vec![many], many)
    }
}

async fn grow(bench: &Bench, side: Side, way: &mut Grown) -> Result<(), String> {
    let mut field = bench.field("growth", side).await?;
    way.processes = field.operator.names();
    let (steps, many) = steps(bench);
    let (mut known, mut seconds, mut from) = (Vec::new(), 0.0, 0);
    for apps in steps {
        let (took, more) = create(bench, &field, from..apps).await;
        known.extend(more);
        seconds += took.seconds;
        field.quiet().await;
        if bench.options.wants(Scenario::Growth) {
            let settled = field.usage();
            let quiet = quiet(bench, &field, &settled).await;
            let child = changes(bench, &field, &mut known, from..apps).await;
            field.quiet().await;
            way.steps.push(Step {
                apps,
                seconds,
                newest: took,
                settled,
                quiet,
                child,
            });
        }
        if apps == many && !side.raw && bench.options.wants(Scenario::Restart) {
            // An operator that is not back in time may still grow.
            way.restarted = Some(attempt(restart::measure(bench, &mut field, apps)).await);
        }
        from = apps;
    }
    Ok(())
}

async fn quiet(bench: &Bench, field: &Field, settled: &Snapshot) -> f64 {
    let time = QUIET.min(bench.options.quiet());
    tokio::time::sleep(time).await;
    let took = Took::since(field, settled, time.as_secs_f64());
    took.cpu(&field.operator.names()) / took.seconds * 100.0
}

/// Changes some of the newest apps, one after the other: milliseconds until each child's event.
async fn changes(
    bench: &Bench,
    field: &Field,
    known: &mut [Known],
    newest: std::ops::Range<usize>,
) -> Vec<f64> {
    let mut eyes = Eyes::open(field).await;
    let mut times = Vec::new();
    for number in newest.rev().take(CHANGES) {
        let (child, _) = eyes.change(bench, field, known, number).await;
        times.push(child);
    }
    times
}

fn tell(grown: &[(Side, Grown)], report: &mut Report) {
    for (side, way) in grown {
        let steps = way.steps.iter().map(|step| {
            let mut took = step.newest.detail();
            took["apps"] = json!(step.apps);
            took
        });
        let what = format!("growth {}", side.name());
        report.detail(&what, steps.collect());
    }
    let steps = grown
        .iter()
        .map(|(_, way)| way.steps.len())
        .max()
        .unwrap_or(0);
    for place in 0..steps {
        let of = |figure: &dyn Fn(&Grown, &Step) -> f64, raw: bool| -> Vec<(Side, f64)> {
            let some = grown.iter().filter(|(side, _)| raw || !side.raw);
            some.filter_map(|(side, way)| Some((*side, figure(way, way.steps.get(place)?))))
                .collect()
        };
        let apps = grown.iter().find_map(|(_, way)| way.steps.get(place));
        let apps = apps.map_or(0, |step| step.apps);
        let last = place + 1 == steps;
        report.row(
            "growth",
            format!("{apps} new apps"),
            "s",
            &of(&|_, step| step.seconds, true),
        );
        let of_first = of(
            &|way, step| per_app(step) / way.steps.first().map_or(1.0, per_app),
            true,
        );
        if last {
            let what = "time per app ÷ that of the first step";
            // The API server's own time per app grows: what an operator adds is the ratio to `raw`'s growth.
            report.row_with("growth", what, "", &of_first, Bar::TimesRaw(1.1));
        }
        let limit = if place == 0 { 64.0 } else { 128.0 };
        let largest = of(
            &|way, step| memory(way, step).into_iter().fold(0.0, f64::max),
            false,
        );
        let what = format!("largest process, {apps} apps");
        report.row_with("growth", what, "MiB", &largest, Bar::AtMost(limit));
        let sum = of(&|way, step| memory(way, step).into_iter().sum(), false);
        report.row("growth", format!("all processes, {apps} apps"), "MiB", &sum);
        let quiet = of(&|_, step| step.quiet, false);
        let what = format!("CPU of the operator while quiet, {apps} apps");
        report.row_with("growth", what, "% of a core", &quiet, Bar::AtMost(2.0));
        let child = of(&|_, step| percentile(&step.child, 50).unwrap_or(0.0), true);
        report.row(
            "growth",
            format!("change → child, p50, {apps} apps"),
            "ms",
            &child,
        );
        for (side, way) in grown
            .iter()
            .filter(|(_, way)| way.processes.len() > 1 && last)
        {
            for (process, memory) in way.processes.iter().zip(
                way.steps
                    .last()
                    .map(|step| memory(way, step))
                    .into_iter()
                    .flatten(),
            ) {
                let what = format!("{process}, {apps} apps");
                report.row("growth", what, "MiB", &[(*side, memory)]);
            }
        }
    }
}

fn per_app(step: &Step) -> f64 {
    step.seconds / step.apps as f64
}

/// Resident memory of each process of an operator.
fn memory(way: &Grown, step: &Step) -> Vec<f64> {
    let resident = |process: &&str| {
        step.settled
            .of
            .get(*process)
            .map_or(0.0, |usage| usage.resident)
    };
    way.processes.iter().map(resident).collect()
}
