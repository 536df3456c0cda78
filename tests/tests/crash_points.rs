//! Whoever dies at an effect, whatever a server refuses there, whatever the watcher does not see, or sees again
//! from the past: the end is that of a run without a fault.
//!
//! A seeded sample of each sort runs always; all of them by `make crash-points`, `make views` and
//! `make refusals`, one of them by `make crash-point POINT=<file>`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::path::PathBuf;

use signalbox_tests::crash::{
    ALL, Effects, Flow, Known, Point, Trial, flows, number, points, refusals, report, sample,
    views, world,
};

/// A sort of points: its word in figures, how many a sample has, and where they come from.
struct Sort {
    word: &'static str,
    sample: usize,
    of: fn(Flow, &Known) -> Vec<Point>,
}

const DEATHS: Sort = Sort {
    word: "crash-points",
    sample: 72,
    of: |flow, known| points(flow, &effects(flow, known)),
};
const VIEWS: Sort = Sort {
    word: "views",
    sample: 24,
    of: seen,
};
const REFUSALS: Sort = Sort {
    word: "refusals",
    sample: 24,
    of: |flow, known| refusals(flow, &effects(flow, known)),
};

fn effects(flow: Flow, known: &Known) -> Vec<Effects> {
    known[&flow].iter().map(|run| run.effects.clone()).collect()
}

/// Says how many events there were and what is left of them.
fn seen(flow: Flow, known: &Known) -> Vec<Point> {
    let found = views(flow, &known[&flow]);
    println!(
        "{}: {} watch events, {} cancelled by a later one; {} unobserved and {} stale states that fed a write",
        flow.word(),
        found.events,
        found.cancelled,
        found.unobserved.len(),
        found.stale.len()
    );
    [found.unobserved, found.stale].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_points_converges() {
    let world = world("crash-points").await;
    let mut trial = Trial::start(&world).await;
    let known = trial.learn(&ALL).await;
    let seed = number("SIGNALBOX_SEED", 1);
    println!("seed {seed}, learned after {:?}", trial.elapsed());
    for sort in [DEATHS, VIEWS, REFUSALS] {
        let all = ALL.map(|flow| (sort.of)(flow, &known));
        let chosen = sample(&all, number("SIGNALBOX_POINTS", sort.sample), seed);
        let verdicts = trial.suffer(&known, chosen).await;
        println!("{:?} in all", trial.elapsed());
        report(sort.word, &verdicts);
    }
}

/// `SIGNALBOX_FLOWS` names flows, else all.
async fn every(sort: Sort) {
    let flows = flows();
    let world = world(sort.word).await;
    let mut trial = Trial::start(&world).await;
    let known = trial.learn(&flows).await;
    let of = |flow: &Flow| (sort.of)(*flow, &known);
    let all: Vec<Point> = flows.iter().flat_map(of).collect();
    println!("{} points, learned after {:?}", all.len(), trial.elapsed());
    let verdicts = trial.suffer(&known, all).await;
    println!("{:?} in all", trial.elapsed());
    report(sort.word, &verdicts);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make crash-points"]
async fn every_crash_point_converges() {
    every(DEATHS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make views"]
async fn every_view_converges() {
    every(VIEWS).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make refusals"]
async fn every_refusal_converges() {
    every(REFUSALS).await;
}

/// One point of any sort from a file, as often as `SIGNALBOX_TIMES` says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file: run by make crash-point POINT=..."]
async fn a_crash_point_is_replayed() {
    let place = std::env::var("SIGNALBOX_POINT").expect("SIGNALBOX_POINT names a file or a folder");
    let files: Vec<PathBuf> = match std::fs::read_dir(&place) {
        Ok(folder) => folder.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => vec![place.into()],
    };
    let read = |file: &PathBuf| Point::read(&std::fs::read_to_string(file).unwrap());
    let points: Vec<Point> = files
        .iter()
        .map(|file| read(file).expect("a point"))
        .collect();
    let known = |flow: &Flow| points.iter().any(|point| point.flow == *flow);
    let flows: Vec<Flow> = ALL.into_iter().filter(known).collect();
    let points = vec![points; number("SIGNALBOX_TIMES", 1)].concat();
    let world = world("crash-points").await;
    let mut trial = if points.len() == 1 {
        Trial::with_lanes(&world, 1).await
    } else {
        Trial::start(&world).await
    };
    let known = trial.learn(&flows).await;
    report("replayed", &trial.suffer(&known, points).await);
}
