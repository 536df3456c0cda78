//! What the watcher sees may be less than what was, or what was: the end is that of a run in which it saw all.
//!
//! Unobserved states and stale states, both derived from traces of fault-free runs. A seeded sample runs
//! always; all of them by `make views`, one of them by `make crash-point POINT=<file>`.

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
    ALL, Flow, Known, Point, Trial, flows, number, report, sample, views, world,
};

/// Points of a sample.
const SAMPLE: usize = 48;

/// The points of a flow; says how many events there were and what is left of them.
fn points_of(flow: Flow, known: &Known) -> Vec<Point> {
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
async fn a_sample_of_views_converges() {
    let world = world("views").await;
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

/// Long: run by `make views`. `SIGNALBOX_FLOWS` names flows, else all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make views"]
async fn every_view_converges() {
    let flows = flows();
    let world = world("views").await;
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
