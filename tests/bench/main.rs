//! The bench: what an operator behind a bus costs, beside its peers and beside the same writes made directly (`raw`).
//!
//! Decides the order of the scenarios and what is printed and kept. Each measures all sides in one run, on fresh
//! servers each; etcd, API server and NATS alone run beside an operator, so that nothing else is measured.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    clippy::large_futures,
    reason = "a failed step ends a measurement; figures are printed; no count here exceeds 2^52; one scenario is held at a time"
)]

mod bar;
mod bench;
mod contender;
mod create;
mod drift;
mod eye;
mod field;
mod figures;
mod fleet;
mod growth;
mod idle;
mod kept;
mod needed;
mod options;
mod peers;
mod report;
mod restart;
mod spans;
mod storm;
mod usage;
mod writes;

use std::path::PathBuf;
use std::time::Instant;

use bench::Bench;
use options::{Options, Raws, Scenario};
use report::Report;

#[tokio::main]
async fn main() {
    let options = Options::read();
    let latest = latest();
    if options.keep {
        let run = std::fs::read(&latest).expect("a run before");
        let run = serde_json::from_slice(&run).expect("JSON");
        let count = kept::keep(&options.kept, &run);
        println!("{count} figures are kept in {}", options.kept.display());
        return;
    }
    let started = Instant::now();
    let mut report = Report::default();
    let bench = Bench::prepare(options, &mut report).await;
    bench.tell_needed(&mut report);
    let (options, raws) = (&bench.options, bench.options.raws);
    if options.wants(Scenario::Idle) {
        idle::run(&bench, &mut report).await;
    }
    if options.wants(Scenario::Create) {
        create::run(&bench, raws, &mut report).await;
    }
    if options.wants(Scenario::Storm) {
        storm::run(&bench, raws, &mut report).await;
    }
    if options.wants(Scenario::Drift) {
        drift::run(&bench, Raws::First, &mut report).await;
    }
    if options.wants(Scenario::Growth) || options.wants(Scenario::Restart) {
        growth::run(&bench, &mut report).await;
    }
    println!("{}", report.markdown(&options.contenders()));
    let run = report.json(&options.sizes());
    println!("{}", kept::compare(&options.kept, &run));
    report::write(&latest, &run);
    eprintln!(
        "{} s; kept in {}",
        started.elapsed().as_secs(),
        latest.display()
    );
}

/// `target/bench/latest.json` of the build that runs.
fn latest() -> PathBuf {
    let own = std::env::current_exe().expect("a program has a path");
    let target = own.ancestors().nth(2).expect("target/<profile>");
    target.join("bench/latest.json")
}
