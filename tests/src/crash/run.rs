//! One run: the state to begin with, the change, perhaps a fault, and the end compared.

use std::time::{Duration, Instant};

use serde_json::Value;
use signalbox_proxy::trace::{self, Entry};
use signalbox_proxy::{Fault, Masks, Plan};

use super::flow::Flow;
use super::lane::{Lane, Run};
use super::points::{Effects, Point};
use super::snapshot::{Snapshot, differences, take};
use crate::parts::Part;

/// Nothing of the object's own happened for this long: it is looked at.
const QUIET: Duration = Duration::from_millis(500);
/// A fault-free run ends when nothing happened for this long.
const SILENCE: Duration = Duration::from_millis(1_500);
/// A run that has not ended alike by then never will: above every backoff that one death may cause.
const LIMIT: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Refused SQL is tried again on a change only: a person makes one after this long.
const PERSON: Duration = Duration::from_secs(4);

/// A fault-free run.
pub struct Reference {
    end: Snapshot,
    /// Every effect of each part.
    pub effects: Effects,
    /// Every step of each part.
    traces: Traces,
    /// How long it took.
    pub took: Duration,
}

/// Every step of each part.
type Traces = Vec<(Part, Vec<Entry>)>;

/// What came of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything ended as without it.
    Alike {
        /// From the change on.
        took: Duration,
    },
    /// The step did not happen in this run.
    NotReached,
    /// It ended in another way, or not at all.
    Unlike {
        /// What differs.
        differences: Vec<String>,
        /// Whether an effect was made twice.
        twice: bool,
    },
}

impl Reference {
    /// What another fault-free run ended with and this one did not, or the other way round.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        differences(&self.end, &other.end)
    }

    /// Every step of a part.
    pub(super) fn trace_of(&self, part: Part) -> &[Entry] {
        let found = self.traces.iter().find(|(of, _)| *of == part);
        found.map_or(&[], |(_, trace)| trace)
    }

    pub(super) fn of(traces: Traces, took: Duration) -> Self {
        let mut effects = Effects::new();
        for (part, trace) in &traces {
            for (step, count) in trace::effects(trace) {
                effects.insert((*part, step), count);
            }
        }
        Self {
            end: Snapshot::new(),
            effects,
            traces,
            took,
        }
    }
}

impl Lane<'_> {
    /// A run without a fault.
    ///
    /// # Panics
    /// If it does not end well.
    pub async fn learn(&mut self, flow: Flow) -> Reference {
        let run = self.run(flow);
        let masks = self.prepare(&run).await.expect("a run can begin");
        let begun = Instant::now();
        flow.act(&run).await;
        let (mut last, mut since) = (0, Instant::now());
        let mut took = Duration::ZERO;
        loop {
            let now = self.progress();
            if now != last {
                (last, since) = (now, Instant::now());
                took = begun.elapsed();
            }
            if since.elapsed() >= SILENCE && self.is_at_rest(&run, Flow::is_done).await {
                break;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "{} without a fault does not end: {:?}",
                flow.word(),
                object(&run).await
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let traces = self.parts.iter();
        let traces = traces.map(|part| (part.part, part.proxy.director.trace()));
        let reference = Reference::of(traces.collect(), took);
        let mut end = take(&run, masks.clone()).await;
        // What the app owned is removed by the garbage collector, in its own time.
        while flow == Flow::Delete && !nothing_is_left(&end) {
            assert!(begun.elapsed() < LIMIT, "left behind: {end:?}");
            tokio::time::sleep(LOOK_EVERY).await;
            end = take(&run, masks.clone()).await;
        }
        clear(&run).await;
        Reference { end, ..reference }
    }

    /// A run in which the fault of `point` is made.
    pub async fn suffer(&mut self, point: &Point, reference: &Reference) -> Verdict {
        let run = self.run(point.flow);
        let masks = match self.prepare(&run).await {
            Ok(masks) => masks,
            Err(why) => return unlike_because(vec![why]),
        };
        let director = self.part(point.part).proxy.director.clone();
        director.begin(masks.clone(), point.plan());
        let before = director.deaths();
        let begun = Instant::now();
        point.flow.act(&run).await;
        let mut died_at = None;
        let (mut moved, mut helped) = (Instant::now(), 0);
        let (mut last, mut since) = (0, Instant::now());
        let mut unlike;
        loop {
            if died_at.is_none() && director.deaths() > before {
                let seen = director.own_effects();
                died_at = Some(seen);
                self.restart(point.part);
                since = Instant::now();
            }
            let now = self.progress();
            if now != last {
                (last, since, moved) = (now, Instant::now(), Instant::now());
            }
            if !director.sees_what_is() {
                since = Instant::now();
            }
            if point.is_for_good() && helped < 5 && moved.elapsed() >= PERSON {
                (moved, helped) = (Instant::now(), helped + 1);
                point.flow.touch(&run).await;
            }
            if since.elapsed() >= QUIET {
                since = Instant::now();
                // A watcher that comes back looks at everything again, unless the object is gone.
                let looked = point.part != Part::Watcher
                    || point.flow == Flow::Delete
                    || died_at.is_none_or(|seen| director.own_effects() > seen);
                let end = take(&run, masks.clone()).await;
                unlike = differences(&reference.end, &end);
                unlike.retain(|line| point.compares(line));
                if looked && unlike.is_empty() && self.is_at_rest(&run, Flow::is_done).await {
                    break;
                }
                if !looked {
                    unlike.push("the watcher did not look again".to_owned());
                }
                if unlike.is_empty() {
                    unlike.push("messages stay on the work streams".to_owned());
                }
                if begun.elapsed() > LIMIT {
                    break;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = begun.elapsed();
        unlike = if begun.elapsed() > LIMIT {
            unlike
        } else {
            Vec::new()
        };
        unlike.extend(self.panics());
        clear(&run).await;
        if !unlike.is_empty() {
            return unlike_because(unlike);
        }
        let reached = match point.fault {
            Fault::Kill(_) => died_at.is_some(),
            Fault::Past(_) => director.was_in_the_past(),
            Fault::Lose(_)
            | Fault::Refuse { .. }
            | Fault::Delay { .. }
            | Fault::Drop
            | Fault::Duplicate
            | Fault::Cut
            | Fault::Pause
            | Fault::Reject(_)
            | Fault::Raise(_)
            | Fault::Hold { .. }
            | Fault::Gone => !director.made().is_empty(),
        };
        if reached {
            Verdict::Alike { took }
        } else {
            Verdict::NotReached
        }
    }

    /// The state to begin with; the names of the run. The trace begins here.
    async fn prepare(&mut self, run: &Run<'_>) -> Result<Masks, String> {
        self.raise();
        self.begin(&run.masks());
        run.flow.prepare(run).await;
        let begun = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = self.progress();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            let ready = since.elapsed() >= QUIET || now == 0;
            if ready && self.is_at_rest(run, Flow::is_prepared).await {
                break;
            }
            if begun.elapsed() > LIMIT {
                let found = object(run).await;
                clear(run).await;
                return Err(format!("the beginning does not come: {found:?}"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let mut masks = run.masks();
        let stable = object(run).await.unwrap_or_default();
        if let Some(stable) = stable["status"]["stable"].as_str() {
            masks = masks.with_revision(stable);
        }
        self.begin(&masks);
        Ok(masks)
    }

    fn begin(&self, masks: &Masks) {
        for part in &self.parts {
            part.proxy.director.begin(masks.clone(), Plan::default());
        }
    }

    /// Parts that a former run left dead are started again.
    fn raise(&mut self) {
        for index in 0..self.parts.len() {
            let ended = self
                .parts
                .get_mut(index)
                .map(|part| part.process().has_ended());
            if ended == Some(true) {
                self.start_part(index);
            }
        }
    }

    /// Another process takes the place of the dead.
    fn restart(&mut self, part: Part) {
        let index = self.parts.iter().position(|proxied| proxied.part == part);
        self.start_part(index.expect("a lane has every part"));
    }

    fn progress(&self) -> usize {
        let parts = self.parts.iter();
        parts.map(|part| part.proxy.director.own_effects()).sum()
    }

    async fn is_at_rest(&self, run: &Run<'_>, is: fn(Flow, Option<&Value>) -> bool) -> bool {
        is(run.flow, object(run).await.as_ref()) && self.bus.open().await == 0
    }

    /// Lines that tell of a panic, since the last look.
    fn panics(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for (path, seen) in &mut self.logs {
            let text = std::fs::read(&*path).unwrap_or_default();
            let new = text.get(*seen..).unwrap_or_default();
            *seen = text.len();
            let lines = String::from_utf8_lossy(new);
            let panics = lines.lines().filter(|line| line.contains("panicked"));
            found.extend(panics.map(|line| format!("panic: {line}")));
        }
        found
    }
}

async fn object(run: &Run<'_>) -> Option<Value> {
    run.objects().find(run.flow.kind(), run.name()).await
}

/// Only counts of what was created and deleted.
fn nothing_is_left(end: &Snapshot) -> bool {
    end.keys().all(|line| line.starts_with("count "))
}

fn unlike_because(differences: Vec<String>) -> Verdict {
    let twice = differences.iter().any(|line| is_twice(line));
    Verdict::Unlike { differences, twice }
}

/// Whether a difference says that something was made more often than once.
fn is_twice(line: &str) -> bool {
    let counted = line.starts_with("count ") || line.starts_with("sql effect");
    let numbers = line
        .rsplit_once(": expected ")
        .and_then(|(_, numbers)| numbers.split_once(", found "));
    let number = |text: &str| text.parse().unwrap_or(0_u64);
    counted && numbers.is_some_and(|(expected, found)| number(found) > number(expected))
}

/// Makes room: the run's object goes, and what it owns with it.
async fn clear(run: &Run<'_>) {
    if object(run).await.is_some() {
        run.objects().delete(run.flow.kind(), run.name()).await;
    }
}
