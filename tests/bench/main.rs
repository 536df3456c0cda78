//! The bench: what an operator behind a bus costs, against the same writes made directly (`raw`).
//!
//! Decides the order of the scenarios and what is printed and kept. Each measures both sides in one run, on
//! fresh servers; etcd, API server and NATS alone run beside the parts, so that nothing else is measured.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a failed step ends a measurement; figures are printed; no count here exceeds 2^52"
)]

mod create;
mod eye;
mod field;
mod figures;
mod idle;
mod needed;
mod report;
mod storm;
mod usage;

use std::path::PathBuf;

use needed::Needed;
use report::Report;

/// Apps of the scenarios with many.
const APPS: usize = 500;
/// Requests that the load generator has open at once.
const IN_FLIGHT: usize = 16;

const SCENARIOS: [&str; 3] = ["idle", "create", "storm"];

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = asked.iter().find(|a| !SCENARIOS.contains(&a.as_str())) {
        eprintln!("there is no scenario {unknown}; there are: {SCENARIOS:?}, none means all");
        std::process::exit(2);
    }
    let wants = |name: &str| asked.is_empty() || asked.iter().any(|a| a == name);
    let mut report = Report::default();
    eprintln!("learning the needed writes of one app");
    let needed = Needed::learn().await;
    if wants("idle") {
        idle::run(&needed, &mut report).await;
    }
    if wants("create") {
        create::run(&needed, &mut report).await;
    }
    if wants("storm") {
        storm::run(&needed, &mut report).await;
    }
    println!("{}", report.markdown());
    let path = kept();
    report.keep(&path);
    eprintln!("kept in {}", path.display());
}

/// `target/bench/latest.json` of the build that runs.
fn kept() -> PathBuf {
    let own = std::env::current_exe().expect("a program has a path");
    let target = own.ancestors().nth(2).expect("target/<profile>");
    target.join("bench/latest.json")
}
