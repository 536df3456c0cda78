//! A trial: a world with lanes, fault-free runs of the flows, then points side by side, and a report.
//!
//! Decides how often a point is tried and what is printed. A point that ends unlike is written down, to be
//! replayed.

#![allow(
    clippy::print_stdout,
    reason = "figures of a suite are worth reading, a failing point has to be found"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use signalbox_scoreboard::{tell, tell_share};

use super::flow::{ALL, Flow};
use super::lane::Lane;
use super::points::Point;
use super::run::{Reference, Verdict};
use crate::world::{World, WorldOptions};

/// A step that was not reached is looked for this often: which steps a run has is in part a matter of time.
const TRIES: usize = 3;
/// Lanes that run side by side.
const LANES: usize = 10;

/// A number that the environment may give.
///
/// # Panics
/// If what it gives is none.
#[must_use]
pub fn number(variable: &str, else_: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(else_, |text| text.parse().expect("a number"))
}

/// The flows that `SIGNALBOX_FLOWS` names, else all.
///
/// # Panics
/// If it names one that there is not.
#[must_use]
pub fn flows() -> Vec<Flow> {
    match std::env::var("SIGNALBOX_FLOWS") {
        Ok(words) => words
            .split(',')
            .map(|word| Flow::parse(word).expect("a flow"))
            .collect(),
        Err(_) => ALL.to_vec(),
    }
}

/// Fault-free runs by flow.
pub type Known = BTreeMap<Flow, Vec<Reference>>;

/// What came of each point.
pub type Verdicts = Vec<(Point, Verdict)>;

/// Lanes in a world, and since when.
pub struct Trial<'w> {
    lanes: Vec<Lane<'w>>,
    begun: Instant,
}

/// A world with all that a flow needs.
pub async fn world(name: &str) -> World {
    World::start(name, WorldOptions::PODS_AND_DATABASES).await
}

impl<'w> Trial<'w> {
    /// As many lanes as `SIGNALBOX_LANES` says.
    pub async fn start(world: &'w World) -> Self {
        Self::with_lanes(world, number("SIGNALBOX_LANES", LANES)).await
    }

    /// As many lanes.
    pub async fn with_lanes(world: &'w World, count: usize) -> Self {
        let begun = Instant::now();
        let lanes = join_all((0..count).map(|lane| Lane::start(world, lane))).await;
        Self { lanes, begun }
    }

    /// Since the lanes were asked for.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Two fault-free runs of each flow.
    ///
    /// # Panics
    /// If one does not end well, or they end otherwise than each other.
    pub async fn learn(&mut self, flows: &[Flow]) -> Known {
        let queue = Mutex::new(flows.to_vec());
        let learned = join_all(self.lanes.iter_mut().map(|lane| async {
            let mut known = Known::new();
            while let Some(flow) = take(&queue) {
                let (reference, other) = (lane.learn(flow).await, lane.learn(flow).await);
                // What differs between two such runs has to be named among what may differ.
                assert_eq!(reference.differences(&other), Vec::<String>::new());
                known.insert(flow, vec![reference, other]);
            }
            known
        }))
        .await;
        learned.into_iter().flatten().collect()
    }

    /// What comes of each point.
    ///
    /// # Panics
    /// If a flow was not learned.
    pub async fn suffer(&mut self, known: &Known, mut points: Vec<Point>) -> Verdicts {
        points.reverse();
        let (all, begun) = (points.len(), Instant::now());
        let (queue, done) = (Mutex::new(points), Mutex::new(Verdicts::new()));
        join_all(self.lanes.iter_mut().map(|lane| async {
            while let Some(point) = take(&queue) {
                let reference = known.get(&point.flow).and_then(|runs| runs.first());
                let verdict = one(lane, &point, reference.expect("the flow is known")).await;
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((point, verdict));
                if done.len() % 100 == 0 {
                    println!("{} of {all} points after {:?}", done.len(), begun.elapsed());
                }
            }
        }))
        .await;
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take<T>(queue: &Mutex<Vec<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// A point, until it is reached.
async fn one(lane: &mut Lane<'_>, point: &Point, reference: &Reference) -> Verdict {
    let mut verdict = Verdict::NotReached;
    for _ in 0..TRIES {
        verdict = lane.suffer(point, reference).await;
        if verdict != Verdict::NotReached {
            break;
        }
    }
    match &verdict {
        Verdict::Alike { .. } => {}
        Verdict::NotReached => println!("NOT REACHED {}", point.line()),
        Verdict::Unlike { differences, .. } => {
            let file = keep(point);
            println!(
                "UNLIKE {}\n  replay: make crash-point POINT={}",
                point.line(),
                file.display()
            );
            let first = differences.iter().take(12);
            first.for_each(|line| println!("  {line}"));
        }
    }
    verdict
}

/// Writes a point down, to be replayed.
fn keep(point: &Point) -> PathBuf {
    let folder = signalbox_scoreboard::folder().join("points");
    std::fs::create_dir_all(&folder).expect("a folder");
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = point.line().chars().map(word).take(200).collect();
    let path = folder.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(&point.file()).expect("a point is JSON");
    std::fs::write(&path, text).expect("a file");
    path
}

/// A row a flow, a line with totals, and the figures of this `word`.
///
/// # Panics
/// If any point ended otherwise than a run without a fault.
pub fn report(word: &str, verdicts: &Verdicts) {
    println!(
        "{:<10}{:>8}{:>11}{:>9}{:>7}{:>13}{:>10}{:>9}",
        "flow", "points", "converged", "unlike", "twice", "not reached", "p50", "longest"
    );
    for flow in ALL {
        let own: Vec<&Verdict> = verdicts
            .iter()
            .filter(|(point, _)| point.flow == flow)
            .map(|(_, verdict)| verdict)
            .collect();
        if own.is_empty() {
            continue;
        }
        let mut times: Vec<Duration> = own.iter().filter_map(|verdict| took(verdict)).collect();
        times.sort();
        let at = |index: usize| times.get(index).map_or(0.0, Duration::as_secs_f64);
        let (unlike, missed) = counts(&own);
        println!(
            "{:<10}{:>8}{:>11}{unlike:>9}{:>7}{missed:>13}{:>9.1}s{:>8.1}s",
            flow.word(),
            own.len(),
            times.len(),
            twice(&own),
            at(times.len() / 2),
            at(times.len().saturating_sub(1)),
        );
    }
    let all: Vec<&Verdict> = verdicts.iter().map(|(_, verdict)| verdict).collect();
    let (unlike, missed) = counts(&all);
    println!(
        "{} plans, {} converged, {missed} not reached, {unlike} unlike",
        all.len(),
        all.len() - missed - unlike
    );
    let reached = all.len() - missed;
    tell(word, reached, "points");
    tell_share(&format!("{word}-converged"), reached - unlike, reached);
    tell(&format!("{word}-twice"), twice(&all), "effects");
    assert_eq!(
        unlike, 0,
        "points that end otherwise than a run without a fault"
    );
}

/// Points at which an effect was made more often than once.
fn twice(verdicts: &[&Verdict]) -> usize {
    let twice = |verdict: &&&Verdict| matches!(verdict, Verdict::Unlike { twice: true, .. });
    verdicts.iter().filter(twice).count()
}

const fn took(verdict: &Verdict) -> Option<Duration> {
    match verdict {
        Verdict::Alike { took } => Some(*took),
        Verdict::NotReached | Verdict::Unlike { .. } => None,
    }
}

fn counts(verdicts: &[&Verdict]) -> (usize, usize) {
    let unlike = |verdict: &&&Verdict| matches!(verdict, Verdict::Unlike { .. });
    let missed = |verdict: &&&Verdict| matches!(verdict, Verdict::NotReached);
    (
        verdicts.iter().filter(unlike).count(),
        verdicts.iter().filter(missed).count(),
    )
}
