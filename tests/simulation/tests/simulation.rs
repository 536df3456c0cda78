//! Seeds: faults by chance, invariants all along, everything right in the end, the same bytes each time.
//!
//! `SIGNALBOX_SEEDS` says how many, `SIGNALBOX_SEED` which one `one_seed` runs.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends a suite; what a seed did is worth reading"
)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use signalbox_scoreboard::tell;
use signalbox_simulation::{Options, run, trace};

/// Seeds by default.
const SEEDS: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn again(seed: u64) -> String {
    format!(
        "SIGNALBOX_SEED={seed} cargo test --workspace --test simulation -- --nocapture one_seed"
    )
}

#[test]
fn seeds_hold_every_invariant() {
    let end = number("SIGNALBOX_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(1), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > end {
                        return;
                    }
                    let report = run(&Options::of(seed), None);
                    if !report.broken.is_empty() {
                        failed.lock().unwrap().push(format!(
                            "{:#?}\nagain: {}",
                            report.broken,
                            again(seed)
                        ));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    tell("seeds", end, "seeds");
    tell("seeds-broken", failed.len(), "seeds");
    assert!(
        failed.is_empty(),
        "{} of {end} seeds:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in [2, 3, 5, 7, 11, 13] {
        let (first, second) = (trace(&Options::of(seed)), trace(&Options::of(seed)));
        let lines = first.trace.lines().zip(second.trace.lines());
        let differs = lines.enumerate().find(|(_, (one, other))| one != other);
        assert_eq!(differs, None, "seed {seed} gives two traces");
        assert_ne!(first.trace, trace(&Options::of(seed + 100)).trace);
    }
}

/// Nobody's choice depends on whether somebody reads along.
#[test]
fn a_run_without_a_trace_is_the_same_run() {
    for seed in [2, 3, 5, 7, 11, 13] {
        let (bare, told) = (run(&Options::of(seed), None), trace(&Options::of(seed)));
        assert_eq!(bare.trace, "");
        assert!(told.trace.lines().count() > 100);
        assert_eq!(bare.state, told.state, "seed {seed}");
        assert_eq!(bare.counts, told.counts, "seed {seed}");
        assert_eq!(bare.settled_in, told.settled_in, "seed {seed}");
    }
}

/// Prints everything about one seed.
#[test]
fn one_seed() {
    let seed = number("SIGNALBOX_SEED").unwrap_or(1);
    let options = Options::of(seed);
    let report = trace(&options);
    println!("{options:#?}\n{}", report.trace);
    assert_eq!(report.broken, Vec::<String>::new());
}
