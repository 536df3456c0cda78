//! What a seed means: how many parts, what people do, what goes wrong, and when. Printed in full.

mod accidents;
mod people;

use signalbox_common::subject::Stream;

use crate::net::{Rates, Side};
use crate::random::Random;
use crate::trigger::Ask;
use crate::user::Wish;

/// A run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The seed of all chance.
    pub seed: u64,
    /// Watchers, by Lease.
    pub watchers: u64,
    /// Planners.
    pub planners: u64,
    /// Executors.
    pub executors: u64,
    /// What goes wrong all along.
    pub rates: Rates,
    /// What happens, and when, in milliseconds.
    pub timeline: Vec<(u64, Act)>,
    /// When the faults end; then everything must come right.
    pub faults_end: u64,
    /// Within so many milliseconds after that.
    pub patience: u64,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A person does something to an app.
    User(String, Wish),
    /// A trigger for an app reaches the bus.
    Trigger(String, Ask),
    /// A part is killed; another one takes its place after so many milliseconds.
    Kill(String),
    /// A part stands still for so many milliseconds.
    Freeze(String, u64),
    /// A part is cut off for so many milliseconds.
    Cut(String, Side, u64),
    /// The watches of a kind tell nothing for so many milliseconds.
    Silence(&'static str, u64),
    /// A part's clock is so many milliseconds off.
    Skew(String, i64),
    /// The bus is away for so many milliseconds.
    BusAway(u64),
    /// A stream is lost and made anew.
    Wipe(Stream),
    /// A stream goes back by so many messages.
    Rewind(Stream, u64),
    /// The messages of one stream about an app are lost.
    Lose(Stream, String),
    /// The API server forgets its log.
    Compact,
    // Ends of the above.
    /// A part goes on.
    Thaw(String),
    /// No part is cut off any more.
    Join,
    /// The bus is back.
    BusBack,
    /// A part is started.
    Start(String),
}

impl Options {
    /// No faults and nothing to do: for flows that a test writes itself.
    #[must_use]
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            watchers: 1,
            planners: 1,
            executors: 1,
            rates: Rates {
                delay: 3,
                ..Rates::default()
            },
            timeline: Vec::new(),
            faults_end: 1000,
            patience: 900_000,
        }
    }

    /// What a seed means.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let random = &mut random;
        let mut options = Self {
            seed,
            watchers: random.between(1, 2),
            planners: random.between(1, 2),
            executors: random.between(1, 3),
            rates: accidents::rates(random),
            timeline: Vec::new(),
            faults_end: random.between(20, 60) * 1000,
            patience: 900_000,
        };
        options.people(random);
        options.accidents(random);
        options.timeline.sort_by_key(|(at, _)| *at);
        options
    }

    /// The slots of all parts.
    #[must_use]
    pub fn slots(&self) -> Vec<String> {
        let of = |role: &str, count| {
            (1..=count)
                .map(move |n| format!("{role}-{n}"))
                .collect::<Vec<_>>()
        };
        [
            of("watcher", self.watchers),
            of("planner", self.planners),
            of("executor", self.executors),
        ]
        .concat()
    }
}
