//! What a plan costs, over all inputs of the tests: `cost plan 20`, `cost decode 20`, `cost encode 20`, best under
//! `valgrind --tool=callgrind`, whose instructions no load changes.
//!
//! Decides nothing: it only does the work, and tells the time of one.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it reads inputs and tells a time; whatever fails ends it"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use signalbox_common::wire::{Event, Observation, decode};
use signalbox_planner::plan;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let rounds: u32 = arguments.next().map_or(1, |text| text.parse().unwrap());
    let bodies: Vec<Vec<u8>> = ["app", "migration"].into_iter().flat_map(inputs).collect();
    let events: Vec<Event> = bodies.iter().map(|body| decode(body).unwrap()).collect();
    let start = Instant::now();
    for _ in 0..rounds {
        for (event, body) in events.iter().zip(&bodies) {
            match what.as_str() {
                "plan" => drop(black_box(plan(&event.observation))),
                "decode" => drop(black_box(decode::<Event>(body).unwrap())),
                "encode" => drop(black_box(serde_json::to_vec(event).unwrap())),
                _ => {}
            }
        }
    }
    let times = rounds * u32::try_from(events.len()).unwrap();
    println!("{what}: {:?} each, {times} times", start.elapsed() / times);
}

/// The Events with the observations of one kind.
fn inputs(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inputs");
    let files = std::fs::read_dir(folder.join(kind)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| std::fs::read(file).unwrap());
    let event = |text: Vec<u8>| Event::new(serde_json::from_slice::<Observation>(&text).unwrap());
    texts
        .map(|text| serde_json::to_vec(&event(text)).unwrap())
        .collect()
}
