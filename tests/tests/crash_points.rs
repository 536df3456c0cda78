//! Every effect of every flow is a crash point: whoever dies there, the end is that of a run without a death.
//!
//! A seeded sample runs always; all of them by `make crash-points`, one of them by
//! `make crash-point POINT=<file>`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use signalbox_tests::crash::{
    ALL, Flow, Known, Point, Trial, flows, number, points, report, sample, world,
};

/// Points of a sample.
const SAMPLE: usize = 96;

fn points_of(flow: Flow, known: &Known) -> Vec<Point> {
    let runs: Vec<_> = known[&flow].iter().map(|run| run.effects.clone()).collect();
    points(flow, &runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_crash_points_converges() {
    let world = world("crash-points").await;
    let mut trial = Trial::start(&world).await;
    let known = trial.learn(&ALL).await;
    let seed = number("SIGNALBOX_SEED", 1);
    let all = ALL.map(|flow| points_of(flow, &known));
    let chosen = sample(&all, number("SIGNALBOX_POINTS", SAMPLE), seed);
    println!(
        "{} points, seed {seed}, learned after {:?}",
        chosen.len(),
        trial.elapsed()
    );
    let verdicts = trial.suffer(&known, chosen).await;
    println!("{:?} in all", trial.elapsed());
    report(&verdicts);
}

/// Long: run by `make crash-points`. `SIGNALBOX_FLOWS` names flows, else all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make crash-points"]
async fn every_crash_point_converges() {
    let flows = flows();
    let world = world("crash-points").await;
    let mut trial = Trial::start(&world).await;
    let known = trial.learn(&flows).await;
    let all: Vec<Point> = flows
        .iter()
        .flat_map(|flow| points_of(*flow, &known))
        .collect();
    println!("{} points, learned after {:?}", all.len(), trial.elapsed());
    let verdicts = trial.suffer(&known, all).await;
    println!("{:?} in all", trial.elapsed());
    report(&verdicts);
}

/// One point of any kind from a file, as often as `SIGNALBOX_TIMES` says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file: run by make crash-point POINT=..."]
async fn a_crash_point_is_replayed() {
    let file = std::env::var("SIGNALBOX_POINT").expect("SIGNALBOX_POINT names a file");
    let point = Point::read(&std::fs::read_to_string(file).unwrap()).expect("a point");
    let world = world("crash-points").await;
    let mut trial = Trial::with_lanes(&world, 1).await;
    let known = trial.learn(&[point.flow]).await;
    let points = vec![point; number("SIGNALBOX_TIMES", 1)];
    report(&trial.suffer(&known, points).await);
}
