//! Whatever a server refuses, and whichever answer is lost, at any effect of a flow: the end is that of a run
//! without a fault.
//!
//! A seeded sample runs always; all of them by `make refusals`, one of them by `make crash-point POINT=<file>`.

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
    ALL, Flow, Known, Point, Trial, flows, number, refusals, report, sample, world,
};

/// Points of a sample.
const SAMPLE: usize = 48;

fn points_of(flow: Flow, known: &Known) -> Vec<Point> {
    let runs: Vec<_> = known[&flow].iter().map(|run| run.effects.clone()).collect();
    refusals(flow, &runs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_refusals_converges() {
    let world = world("refusals").await;
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

/// Long: run by `make refusals`. `SIGNALBOX_FLOWS` names flows, else all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make refusals"]
async fn every_refusal_converges() {
    let flows = flows();
    let world = world("refusals").await;
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
