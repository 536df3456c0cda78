//! Many new apps at once: until each has its needed writes; then memory, and what a quiet fleet costs.

use serde_json::json;

use crate::bar::Bar;
use crate::bench::{Bench, in_turns};
use crate::contender::{Side, each, operators};
use crate::field::done;
use crate::fleet::{Took, create, middle};
use crate::options::Raws;
use crate::report::Report;
use crate::usage::{Snapshot, all};

/// A side at the end of its last round.
type Last = (Side, Took, Snapshot, Vec<&'static str>);

/// One round of a side.
struct Round {
    took: Took,
    writes: f64,
    processes: Vec<&'static str>,
    settled: Snapshot,
    quiet: Took,
}

pub(crate) async fn run(bench: &Bench, raws: Raws, report: &mut Report) {
    let (sides, rounds) = (bench.sides(raws), bench.options.rounds);
    let measure = async |side, is_last| measure(bench, side, is_last).await;
    let rounds = in_turns("create", sides, rounds, report, measure).await;
    let seconds: Vec<_> = rounds
        .iter()
        .map(|(side, rounds)| {
            let of = |figure: fn(&Took) -> f64| {
                rounds.iter().map(|r| figure(&r.took)).collect::<Vec<_>>()
            };
            json!({ side.name(): { "seconds": of(|t| t.seconds), "othersCpu": of(|t| t.others) } })
        })
        .collect();
    report.detail("create", json!(seconds));
    let mut last: Vec<Last> = Vec::new();
    let mut middles = Vec::new();
    for (side, rounds) in rounds {
        if !side.raw
            && let Some(round) = rounds.last()
        {
            last.push((
                side,
                round.quiet.clone(),
                round.settled.clone(),
                round.processes.clone(),
            ));
        }
        middles.push((side, middle(rounds, |round| round.took.seconds)));
    }
    tell(bench, &middles, report);
    tell_memory(bench.options.apps, &last, report);
    let of: Vec<_> = last
        .iter()
        .map(|(side, quiet, _, processes)| (*side, quiet.cpu(processes) / quiet.seconds * 100.0))
        .collect();
    report.row_with(
        "quiet",
        "CPU of the operator",
        "% of a core",
        &of,
        Bar::AtMost(2.0),
    );
}

/// Memory of the settled fleet: of the largest process, of all, and of each where there are some.
fn tell_memory(apps: usize, last: &[Last], report: &mut Report) {
    for (name, value) in [("resident", 0), ("peak", 1)] {
        let of: Vec<_> = last
            .iter()
            .map(|(side, _, settled, processes)| {
                let memory = |process: &&str| {
                    settled
                        .of
                        .get(*process)
                        .map(|u| [u.resident, u.peak][value])
                };
                (
                    *side,
                    processes.iter().filter_map(memory).fold(0.0, f64::max),
                )
            })
            .collect();
        let bar = if name == "peak" {
            Bar::AtMost(64.0)
        } else {
            Bar::None
        };
        report.row_with(
            "create",
            format!("largest process, {name}, {apps} apps"),
            "MiB",
            &of,
            bar,
        );
    }
    let sum = last.iter().map(|(side, _, settled, processes)| {
        let each = processes
            .iter()
            .filter_map(|process| settled.of.get(*process));
        (*side, each.map(|usage| usage.resident).sum())
    });
    let what = format!("all processes, resident, {apps} apps");
    report.row("create", what, "MiB", &sum.collect::<Vec<_>>());
    for (side, _, settled, processes) in last {
        for process in processes.iter().filter(|_| processes.len() > 1) {
            let peak = settled.of.get(*process).map_or(0.0, |usage| usage.peak);
            report.row(
                "create",
                format!("peak of {process}, {apps} apps"),
                "MiB",
                &[(*side, peak)],
            );
        }
    }
}

async fn measure(bench: &Bench, side: Side, is_last: bool) -> Result<Round, String> {
    let field = bench.field("create", side).await?;
    let mark = field.audit.mark();
    let (took, _) = create(bench, &field, 0..bench.options.apps).await;
    field.quiet().await;
    let settled = field.usage();
    let writes = done(&field.writes_since(mark)) as f64;
    let mut quiet = Took::default();
    if is_last && !side.raw {
        let time = bench.options.quiet();
        tokio::time::sleep(time).await;
        quiet = Took::since(&field, &settled, time.as_secs_f64());
    }
    Ok(Round {
        took,
        writes,
        processes: field.operator.names(),
        settled,
        quiet,
    })
}

fn tell(bench: &Bench, middles: &[(Side, Round)], report: &mut Report) {
    let apps = bench.options.apps;
    let seconds = each(middles, |round| round.took.seconds);
    report.row_with(
        "create",
        format!("{apps} new apps"),
        "s",
        &seconds,
        Bar::TimesRaw(1.15),
    );
    let writes = operators(middles, |round| round.writes / apps as f64);
    report.row_with("create", "writes per app", "", &writes, Bar::AtMost(4.0));
    report.row(
        "create",
        "CPU of all processes",
        "s",
        &each(middles, |round| all(&round.took.cpu)),
    );
    for server in ["kube-apiserver", "etcd"] {
        let cpu = each(middles, |round| round.took.cpu(&[server]));
        report.row("create", format!("CPU of {server}"), "s", &cpu);
    }
    let cpu = operators(middles, |round| {
        round.took.cpu(&round.processes) / apps as f64 * 1000.0
    });
    let bar = Bar::TimesPeer("controller-runtime", 1.5);
    report.row_with("create", "CPU of the operator per app", "ms", &cpu, bar);
    for (side, round) in middles {
        for process in round.processes.iter().filter(|_| round.processes.len() > 1) {
            let cpu = round.took.cpu(&[*process]) / apps as f64 * 1000.0;
            report.row(
                "create",
                format!("CPU of {process} per app"),
                "ms",
                &[(*side, cpu)],
            );
        }
    }
}
