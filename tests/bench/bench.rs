//! What all scenarios have in common: options, programs, needed writes, and the sides that take part.
//!
//! Decides that a side which fails is told in the table and does not end the run.

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use serde_json::json;
use signalbox_common::panic;

use crate::contender::{Contender, Side};
use crate::field::{FIRST, Field, name};
use crate::needed::{Known, Needed, REPLICAS};
use crate::options::{Options, Raws};
use crate::peers::Programs;
use crate::report::Report;

/// Of which writes, and how many they are.
type Count = (&'static str, fn(&Needed) -> usize);

/// A run.
pub(crate) struct Bench {
    pub(crate) options: Options,
    pub(crate) programs: Programs,
    needed: BTreeMap<Contender, Needed>,
}

impl Bench {
    /// Makes the programs and learns the needed writes; who can't run is told.
    pub(crate) async fn prepare(options: Options, report: &mut Report) -> Self {
        let contenders = options.contenders();
        let programs = Programs::prepare(&contenders);
        let mut needed = BTreeMap::new();
        eprintln!("learning the needed writes of one app");
        for contender in contenders {
            match attempt(Needed::learn(contender, &programs)).await {
                Ok(learned) => _ = needed.insert(contender, learned),
                Err(reason) => report.missing("all", Side::operator(contender), reason),
            }
        }
        Self {
            options,
            programs,
            needed,
        }
    }

    /// The sides of a scenario: the needed writes alone before whom they belong to.
    pub(crate) fn sides(&self, raws: Raws) -> Vec<Side> {
        let sides = self.needed.keys().enumerate().flat_map(|(place, of)| {
            let raw = place == 0 || raws == Raws::Each;
            let raw = raw.then_some(Side::raw(*of));
            raw.into_iter().chain([Side::operator(*of)])
        });
        sides.collect()
    }

    /// The operators alone.
    pub(crate) fn operators(&self) -> Vec<Side> {
        self.needed.keys().map(|of| Side::operator(*of)).collect()
    }

    /// The needed writes of a side.
    pub(crate) fn needed(&self, side: Side) -> &Needed {
        self.needed
            .get(&side.of)
            .expect("a side that runs has learned")
    }

    /// Fresh servers of a side, on which one app is served already: the first requests cost a server more.
    pub(crate) async fn field(&self, scenario: &str, side: Side) -> Result<Field, String> {
        let field = Field::start(scenario, side, &self.programs).await?;
        if side.raw {
            let mut app = Known::new(&field.create(&name(FIRST)).await);
            let needed = self.needed(side);
            needed.serve_new(&field.writer, &mut app).await;
            field.quiet().await;
        }
        Ok(field)
    }

    /// Asks for an app's other replicas; where no operator runs, its needed writes come behind.
    pub(crate) async fn scale(&self, field: &Field, known: &mut [Known], number: usize) {
        let spec = json!({ "replicas": REPLICAS });
        let changed = field.change(&name(number), spec).await;
        if let (true, Some(known)) = (field.side.raw, known.get_mut(number)) {
            known.changed(&changed);
            let needed = self.needed(field.side);
            needed.serve(&field.writer, &needed.scale, known).await;
        }
    }

    /// Number of writes that each contender needs.
    pub(crate) fn tell_needed(&self, report: &mut Report) {
        let counts: [Count; 3] = [
            ("for a new app", |needed| needed.create.len()),
            ("for other replicas", |needed| needed.scale.len()),
            ("for another configuration", |needed| needed.config.len()),
        ];
        for (what, count) in counts {
            let of = self
                .needed
                .iter()
                .map(|(of, needed)| (Side::operator(*of), count(needed) as f64));
            let of: Vec<_> = of.collect();
            report.row("needed writes", what, "", &of);
        }
    }
}

/// A step of each side, one after the other: what it came to. A side that fails is told and takes no further part.
pub(crate) async fn each_in_turn<F, T>(
    scenario: &str,
    sides: Vec<(Side, F)>,
    report: &mut Report,
    step: impl AsyncFn(Side, F) -> Result<T, String>,
) -> Vec<(Side, T)> {
    let mut still = Vec::new();
    for (side, from) in sides {
        match attempt(step(side, from)).await {
            Ok(came_to) => still.push((side, came_to)),
            Err(reason) => report.missing(scenario, side, reason),
        }
    }
    still
}

/// Rounds of the sides in turns, each told whether it is the last: what they came to.
pub(crate) async fn in_turns<T>(
    scenario: &str,
    sides: Vec<Side>,
    rounds: usize,
    report: &mut Report,
    measure: impl AsyncFn(Side, bool) -> Result<T, String>,
) -> Vec<(Side, Vec<T>)> {
    let mut done: Vec<_> = sides.into_iter().map(|side| (side, Vec::new())).collect();
    for round in 1..=rounds {
        let one_more = async |side, mut of: Vec<T>| {
            of.push(measure(side, round == rounds).await?);
            Ok(of)
        };
        done = each_in_turn(scenario, done, report, one_more).await;
    }
    done
}

/// A step of one side: its result, or why it failed.
pub(crate) async fn attempt<T>(step: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let ended = AssertUnwindSafe(step).catch_unwind().await;
    ended.unwrap_or_else(|panic| Err(panic::said(panic.as_ref()).unwrap_or("failed").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_side_that_fails_takes_no_further_part() {
        let sides = vec![Side::raw(Contender::Kopf), Side::operator(Contender::Kopf)];
        let measure = async |side: Side, is_last: bool| {
            let in_time = side.raw || !is_last;
            in_time
                .then_some(is_last)
                .ok_or_else(|| "too slow".to_owned())
        };
        let mut report = Report::default();
        let done = in_turns("storm", sides.clone(), 2, &mut report, measure).await;
        assert_eq!(done, [(sides[0], vec![false, true])]);
        let told = report.markdown(&[Contender::Kopf]);
        assert!(
            told.contains("`storm`: kopf was not measured: too slow"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn a_step_that_fails_tells_why() {
        let done = attempt(async { Ok(1) }).await;
        assert_eq!(done, Ok(1));
        let failed: Result<(), _> = attempt(async { panic!("no {}", "answer") }).await;
        assert_eq!(failed, Err("no answer".to_owned()));
    }
}
