//! Every effect of every flow is a crash point: whoever dies there, the end is that of a run without a death.
//!
//! A seeded sample runs always; all of them by `make crash-points`, one of them by
//! `make crash-point POINT=<file>`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::join_all;
use signalbox_scoreboard::{tell_count, tell_share};
use signalbox_tests::crash::{ALL, Flow, Lane, Point, Reference, Verdict, points, sample};
use signalbox_tests::{World, WorldOptions};

/// Points of a sample.
const SAMPLE: usize = 96;
/// A step that was not reached is looked for this often: which steps a run has is in part a matter of time.
const TRIES: usize = 3;

fn number(variable: &str, else_: usize) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(else_, |text| text.parse().expect("a number"))
}

async fn world() -> World {
    let options = WorldOptions {
        controllers: true,
        postgres: true,
    };
    World::start("crash-points", options).await
}

async fn lanes(world: &World) -> Vec<Lane<'_>> {
    let count = number("SIGNALBOX_LANES", 10);
    join_all((0..count).map(|lane| Lane::start(world, lane))).await
}

/// Fault-free runs of a flow: what it ends with, and its points.
struct Known {
    reference: Reference,
    points: Vec<Point>,
}

async fn learn(lanes: &mut [Lane<'_>], flows: &[Flow]) -> BTreeMap<Flow, Known> {
    let queue = Mutex::new(flows.to_vec());
    let take = || queue.lock().unwrap().pop();
    let learned = join_all(lanes.iter_mut().map(|lane| async {
        let mut known = Vec::new();
        while let Some(flow) = take() {
            let (reference, other) = (lane.learn(flow).await, lane.learn(flow).await);
            // What differs between two such runs has to be named among what may differ.
            assert_eq!(reference.differences(&other), Vec::<String>::new());
            let points = points(flow, &[reference.effects.clone(), other.effects]);
            known.push((flow, Known { reference, points }));
        }
        known
    }))
    .await;
    learned.into_iter().flatten().collect()
}

/// What came of each point.
type Verdicts = Vec<(Point, Verdict)>;

async fn suffer(
    lanes: &mut [Lane<'_>],
    known: &BTreeMap<Flow, Known>,
    mut points: Vec<Point>,
) -> Verdicts {
    points.reverse();
    let (all, begun) = (points.len(), Instant::now());
    let (queue, done) = (Mutex::new(points), Mutex::new(Verdicts::new()));
    let take = || queue.lock().unwrap().pop();
    join_all(lanes.iter_mut().map(|lane| async {
        while let Some(point) = take() {
            let reference = &known[&point.flow].reference;
            let mut verdict = Verdict::NotReached;
            for _ in 0..TRIES {
                verdict = lane.suffer(&point, reference).await;
                if verdict != Verdict::NotReached {
                    break;
                }
            }
            if let Verdict::Unlike { differences, .. } = &verdict {
                let file = keep(&point);
                println!(
                    "UNLIKE {}\n  replay: make crash-point POINT={}",
                    point.line(),
                    file.display()
                );
                differences
                    .iter()
                    .take(12)
                    .for_each(|line| println!("  {line}"));
            }
            if verdict == Verdict::NotReached {
                println!("NOT REACHED {}", point.line());
            }
            let mut done = done.lock().unwrap();
            done.push((point, verdict));
            if done.len() % 100 == 0 {
                println!("{} of {all} points after {:?}", done.len(), begun.elapsed());
            }
        }
    }))
    .await;
    done.into_inner().unwrap()
}

/// Writes a point down, to be replayed.
fn keep(point: &Point) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("crash-points");
    std::fs::create_dir_all(&folder).unwrap();
    let name: String = point
        .line()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(150)
        .collect();
    let path = folder.join(format!("{name}.json"));
    std::fs::write(&path, serde_json::to_string_pretty(&point.file()).unwrap()).unwrap();
    path
}

/// A row a flow; panics if any point ended otherwise.
fn report(verdicts: &Verdicts) {
    println!(
        "{:<10}{:>8}{:>11}{:>9}{:>7}{:>13}{:>10}{:>9}",
        "flow", "points", "converged", "unlike", "twice", "not reached", "p50", "longest"
    );
    let mut bad = 0;
    for flow in ALL {
        let own = || verdicts.iter().filter(|(point, _)| point.flow == flow);
        if own().next().is_none() {
            continue;
        }
        let count = |is: fn(&Verdict) -> bool| own().filter(|(_, verdict)| is(verdict)).count();
        let mut times: Vec<Duration> = own()
            .filter_map(|(_, verdict)| match verdict {
                Verdict::Alike { took } => Some(*took),
                Verdict::NotReached | Verdict::Unlike { .. } => None,
            })
            .collect();
        times.sort();
        let at = |index: usize| times.get(index).map_or(0.0, Duration::as_secs_f64);
        let unlike = count(|verdict| matches!(verdict, Verdict::Unlike { .. }));
        bad += unlike;
        println!(
            "{:<10}{:>8}{:>11}{unlike:>9}{:>7}{:>13}{:>9.1}s{:>8.1}s",
            flow.word(),
            own().count(),
            times.len(),
            count(|verdict| matches!(verdict, Verdict::Unlike { twice: true, .. })),
            count(|verdict| *verdict == Verdict::NotReached),
            at(times.len() / 2),
            at(times.len().saturating_sub(1)),
        );
    }
    figures(verdicts);
    assert_eq!(
        bad, 0,
        "points that end otherwise than a run without a death"
    );
}

fn figures(verdicts: &Verdicts) {
    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, v)| is(v)).count();
    let alike = count(|verdict| matches!(verdict, Verdict::Alike { .. }));
    let reached = count(|verdict| *verdict != Verdict::NotReached);
    let twice = count(|verdict| matches!(verdict, Verdict::Unlike { twice: true, .. }));
    tell_count("crash-points", reached, "points");
    tell_share("crash-points-converged", alike, reached);
    tell_count("crash-points-twice", twice, "effects");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_crash_points_converges() {
    let begun = Instant::now();
    let world = world().await;
    let mut lanes = lanes(&world).await;
    let known = learn(&mut lanes, &ALL).await;
    let seed = number("SIGNALBOX_SEED", 1);
    let all: Vec<_> = known.values().map(|known| known.points.clone()).collect();
    let chosen = sample(&all, number("SIGNALBOX_POINTS", SAMPLE), seed);
    println!(
        "{} points, seed {seed}, learned after {:?}",
        chosen.len(),
        begun.elapsed()
    );
    let verdicts = suffer(&mut lanes, &known, chosen).await;
    println!("{:?} in all", begun.elapsed());
    report(&verdicts);
}

/// Long: run by `make crash-points`. `SIGNALBOX_FLOWS` names flows, else all.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: run by make crash-points"]
async fn every_crash_point_converges() {
    let begun = Instant::now();
    let flows: Vec<Flow> = match std::env::var("SIGNALBOX_FLOWS") {
        Ok(words) => words
            .split(',')
            .map(|word| Flow::parse(word).unwrap())
            .collect(),
        Err(_) => ALL.to_vec(),
    };
    let world = world().await;
    let mut lanes = lanes(&world).await;
    let known = learn(&mut lanes, &flows).await;
    let all: Vec<_> = known
        .values()
        .flat_map(|known| known.points.clone())
        .collect();
    println!("{} points, learned after {:?}", all.len(), begun.elapsed());
    let verdicts = suffer(&mut lanes, &known, all).await;
    println!("{:?} in all", begun.elapsed());
    report(&verdicts);
}

/// One point from a file, as often as `SIGNALBOX_TIMES` says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a file: run by make crash-point POINT=..."]
async fn a_crash_point_is_replayed() {
    let file = std::env::var("SIGNALBOX_POINT").expect("SIGNALBOX_POINT names a file");
    let point = Point::read(&std::fs::read_to_string(file).unwrap()).expect("a point");
    let world = world().await;
    let mut lanes = vec![Lane::start(&world, 0).await];
    let known = learn(&mut lanes, &[point.flow]).await;
    let points = vec![point; number("SIGNALBOX_TIMES", 1)];
    report(&suffer(&mut lanes, &known, points).await);
}
