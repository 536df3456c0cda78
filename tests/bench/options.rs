//! What is asked for: scenarios, contenders, sizes.
//!
//! Decides names and defaults. The defaults are what docs/performance.md tells; smaller ones show that
//! everything works, and are never compared with the kept ratios.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use crate::contender::Contender;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One change on an idle system.
    Idle,
    /// Many new apps, then a quiet fleet.
    Create,
    /// Every app changed again and again.
    Storm,
    /// Children deleted by somebody.
    Drift,
    /// The operator ends and starts with a converged fleet.
    Restart,
    /// More and more apps: memory, processor time while quiet, one change.
    Growth,
}

/// For whom `raw` makes the needed writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Raws {
    /// For the first contender only.
    First,
    /// In `create` and `storm` for each contender its own.
    Each,
}

/// Measures Signalbox beside its peers, each on fresh servers.
#[derive(Clone, Debug, Parser)]
#[command(name = "signalbox-bench")]
pub(crate) struct Options {
    /// Scenarios; none: all.
    scenarios: Vec<Scenario>,
    /// Contenders, separated by commas; none: all. The bars are those of signalbox.
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Contender>,
    /// For whom the needed writes are made alone.
    #[arg(long, default_value = "each")]
    pub(crate) raws: Raws,
    /// Apps of create, storm and drift.
    #[arg(long, default_value_t = 500)]
    pub(crate) apps: usize,
    /// Numbers of apps at which growth looks; restart is at the last but one.
    #[arg(long, value_delimiter = ',', default_values_t = [500, 1_000, 5_000, 10_000])]
    pub(crate) steps: Vec<usize>,
    /// Changes of idle.
    #[arg(long, default_value_t = 200)]
    pub(crate) changes: usize,
    /// Updates of each app in the storm.
    #[arg(long, default_value_t = 20)]
    pub(crate) updates: usize,
    /// Children that drift deletes.
    #[arg(long, default_value_t = 200)]
    pub(crate) deleted: usize,
    /// How often each side creates; the middle round counts.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// How often each side passes the storm; the middle one counts.
    #[arg(long, default_value_t = 3)]
    pub(crate) storms: usize,
    /// How often each side's children are deleted; the middle time counts.
    #[arg(long, default_value_t = 9)]
    pub(crate) drifts: usize,
    /// How often the operator is restarted; the middle one counts.
    #[arg(long, default_value_t = 3)]
    pub(crate) restarts: usize,
    /// Seconds for which a quiet fleet is watched.
    #[arg(long, default_value_t = 20)]
    quiet: u64,
    /// A run of some minutes that shows that everything works, instead of the sizes above.
    #[arg(long)]
    pub(crate) small: bool,
    /// Measures nothing: the figures of the last run become the kept ones.
    #[arg(long)]
    pub(crate) keep: bool,
    /// The kept ratios.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/kept.json"))]
    pub(crate) kept: PathBuf,
}

impl Options {
    /// As the command line asks.
    pub(crate) fn read() -> Self {
        Self::parse().small()
    }

    fn small(self) -> Self {
        if !self.small {
            return self;
        }
        Self {
            apps: 20,
            steps: vec![20, 30, 40, 60],
            changes: 6,
            updates: 5,
            deleted: 8,
            rounds: 1,
            storms: 1,
            drifts: 2,
            restarts: 1,
            quiet: 2,
            ..self
        }
    }

    /// Whether a scenario is asked for.
    pub(crate) fn wants(&self, scenario: Scenario) -> bool {
        self.scenarios.is_empty() || self.scenarios.contains(&scenario)
    }

    /// The contenders, each once, in their order.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let asked = |one: &Contender| self.contenders.is_empty() || self.contenders.contains(one);
        Contender::ALL.into_iter().filter(asked).collect()
    }

    /// How long a quiet fleet is watched.
    pub(crate) const fn quiet(&self) -> Duration {
        Duration::from_secs(self.quiet)
    }

    /// What figures depend on: those of other sizes are not compared.
    pub(crate) fn sizes(&self) -> Value {
        json!({
            "apps": self.apps, "steps": self.steps, "changes": self.changes,
            "updates": self.updates, "deleted": self.deleted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_is_everything_and_something_asked_is_only_that() {
        let all = Options::parse_from(["bench"]).small();
        assert!(all.wants(Scenario::Idle) && all.wants(Scenario::Growth));
        assert_eq!(all.contenders(), Contender::ALL);
        let words = ["bench", "storm", "--contenders=kopf,signalbox", "--small"];
        let some = Options::parse_from(words).small();
        assert!(some.wants(Scenario::Storm) && !some.wants(Scenario::Idle));
        assert_eq!(some.contenders(), [Contender::Signalbox, Contender::Kopf]);
        assert_eq!(some.apps, 20);
        assert_ne!(some.sizes(), all.sizes());
    }
}
