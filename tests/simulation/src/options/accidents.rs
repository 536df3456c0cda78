//! What goes wrong: how often all along, and what happens once.
//!
//! Decides by the seed's chance alone.

use signalbox_common::subject::Stream;

use super::{Act, Options};
use crate::net::{Rates, Side};
use crate::random::Random;

impl Options {
    pub(super) fn accidents(&mut self, random: &mut Random) {
        let slots = self.slots();
        for _ in 0..random.below(10) {
            let at = random.below(self.faults_end);
            let long = random.between(200, 12_000);
            let Some(slot) = random.one_of(&slots).cloned() else {
                continue;
            };
            let act = accident(slot, long, random);
            self.timeline.push((at, act));
        }
    }
}

fn accident(slot: String, long: u64, random: &mut Random) -> Act {
    let streams = [
        Stream::Events,
        Stream::Plans,
        Stream::Outcomes,
        Stream::Triggers,
    ];
    let stream = random.one_of(&streams).copied().unwrap_or(Stream::Plans);
    let sides = [Side::Api, Side::Bus, Side::Database];
    let side = random.one_of(&sides).copied().unwrap_or(Side::Api);
    match random.below(12) {
        0 | 1 => Act::Kill(slot),
        2 | 3 => Act::Freeze(slot, long),
        4 | 5 => Act::Cut(slot, side, long),
        6 => {
            let by = i64::try_from(random.between(0, 20_000)).unwrap_or(0) - 10_000;
            Act::Skew(slot, by)
        }
        7 => Act::BusAway(long),
        8 => Act::Wipe(stream),
        9 => {
            let kinds = [
                "Service",
                "ConfigMap",
                "Deployment",
                "PortfolioApp",
                "DatabaseMigration",
                "Lease",
            ];
            let kind = random.one_of(&kinds).copied();
            Act::Silence(kind.unwrap_or("Service"), long)
        }
        10 => Act::Rewind(stream, random.between(1, 5)),
        _ => match random.below(2) {
            0 => Act::Compact,
            _ => Act::Lose(stream, format!("app-{}", random.between(1, 4))),
        },
    }
}

pub(super) fn rates(random: &mut Random) -> Rates {
    let mut some = |most: u64| {
        if random.in_thousand(500) {
            random.below(most + 1)
        } else {
            0
        }
    };
    Rates {
        refused: some(80),
        reset: some(40),
        answer_lost: some(80),
        stalled: some(10),
        watch: some(30),
        bus: some(60),
        fetch: some(40),
        reorder: some(500),
        sql: some(200),
        crash: some(6),
        delay: some(80).max(2),
    }
}
