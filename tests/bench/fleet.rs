//! Many apps at once: made, changed, and waited for; and what that took.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Instant;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::field::{Field, name};
use crate::needed::Known;
use crate::usage::Snapshot;

/// Requests that the load generator has open at once.
pub(crate) const IN_FLIGHT: usize = 16;

/// What a stretch of work took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Took {
    pub(crate) seconds: f64,
    /// Processor seconds by process.
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Processor seconds of everything else on the machine.
    pub(crate) others: f64,
}

impl Took {
    /// From a snapshot until now.
    pub(crate) fn since(field: &Field, before: &Snapshot, seconds: f64) -> Self {
        let after = field.usage();
        Self {
            seconds,
            cpu: after.cpu_since(before),
            others: after.others_since(before),
        }
    }

    /// As it stands among a run's details.
    pub(crate) fn detail(&self) -> Value {
        json!({ "seconds": self.seconds, "cpu": self.cpu, "othersCpu": self.others })
    }

    /// Processor seconds of some processes.
    pub(crate) fn cpu(&self, processes: &[&'static str]) -> f64 {
        processes
            .iter()
            .filter_map(|name| self.cpu.get(*name))
            .sum()
    }
}

/// Makes the apps with these numbers, sixteen at once, until the last is served. Where the load generator
/// makes the writes, the apps as it knows them.
pub(crate) async fn create(
    bench: &Bench,
    field: &Field,
    numbers: Range<usize>,
) -> (Took, Vec<Known>) {
    let client = &field.writer;
    let needed = bench.needed(field.side);
    let mut apps = field.eye("papp").await;
    let before = field.usage();
    let started = Instant::now();
    let known = futures::stream::iter(numbers.clone())
        .map(|number| async move {
            let app = field.create(&name(number)).await;
            let mut known = Known::new(&app);
            if field.side.raw {
                needed.serve_new(client, &mut known).await;
            }
            known
        })
        .buffered(IN_FLIGHT)
        .collect()
        .await;
    let all: HashMap<_, _> = numbers.map(|number| (name(number), 1)).collect();
    let last = apps.until_observed(all).await;
    let took = Took::since(field, &before, (last - started).as_secs_f64());
    (took, known)
}

/// The round that took the middle time.
pub(crate) fn middle<T>(mut rounds: Vec<T>, seconds: impl Fn(&T) -> f64) -> T {
    rounds.sort_by(|a, b| seconds(a).total_cmp(&seconds(b)));
    rounds.swap_remove(rounds.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_round_counts() {
        assert!((middle(vec![9.0, 1.0, 3.0], |s| *s) - 3.0).abs() < 1e-9);
        assert!((middle(vec![2.0], |s| *s) - 2.0).abs() < 1e-9);
    }
}
