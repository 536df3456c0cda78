//! Runs seeds of the simulation: `signalbox-simulation --seed 7`, `signalbox-simulation --count 10000`.

#![expect(clippy::print_stdout, reason = "its report is for people")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use signalbox_simulation::{Options, run, trace};

/// After how many seeds the report says how far it is.
const TOLD_EVERY: u64 = 5000;

/// Runs seeds of the simulation.
#[derive(Parser)]
struct Args {
    /// One seed, with its options, its whole trace and what was asked for in the end.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of many seeds.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    count: u64,
    /// Threads, each with seeds of its own.
    #[arg(long, default_value_t = 2)]
    threads: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(seed),
        None => many(&args),
    }
}

fn one(seed: u64) -> ExitCode {
    let options = Options::of(seed);
    let report = trace(&options);
    println!("{options:#?}\n{}", report.trace);
    for (place, object) in &report.state {
        if place.resource.custom {
            println!("{place} in the end: {object:#}");
        }
    }
    println!(
        "settled in {:?}; broken: {:#?}",
        report.settled_in, report.broken
    );
    let again = trace(&options);
    let lines = report.trace.lines().zip(again.trace.lines());
    let differs = lines
        .enumerate()
        .find(|(_, (first, second))| first != second);
    if let Some((place, (first, second))) = differs {
        println!("not the same bytes, line {place}:\n{first}\n{second}");
    }
    if report.broken.is_empty() && report.trace == again.trace {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn many(args: &Args) -> ExitCode {
    let (next, failed) = (AtomicU64::new(args.from), AtomicU64::new(0));
    let done = AtomicU64::new(0);
    let end = args.from.saturating_add(args.count);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(&Options::of(seed), None);
                    if !report.broken.is_empty() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed}: {:#?}", report.broken);
                        println!("  again: cargo run -p signalbox-simulation -- --seed {seed}");
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(TOLD_EVERY) && done < args.count {
                        let failed = failed.load(Ordering::Relaxed);
                        let took = begun.elapsed().as_secs_f64();
                        println!(
                            "{done} of {} seeds, {failed} failed, {took:.0} s",
                            args.count
                        );
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!(
        "{} seeds from {}, {failed} failed, {:.1} s",
        args.count,
        args.from,
        begun.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
