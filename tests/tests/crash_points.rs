//! Every effect of every flow is a crash point: whoever dies there, the end is that of a run without a death.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use signalbox_tests::crash::{Flow, Lane, Record, points};
use signalbox_tests::{World, WorldOptions};

#[tokio::test(flavor = "multi_thread")]
async fn slice() {
    let world = World::start(
        "crash-points",
        WorldOptions {
            controllers: true,
            postgres: true,
        },
    )
    .await;
    let record = Record::new(world.cluster.audit_log().unwrap());
    let mut lane = Lane::start(&world, &record, 0).await;
    let flows = std::env::var("FLOWS").unwrap_or("create".to_owned());
    for flow in flows.split(',').map(|word| Flow::parse(word).unwrap()) {
        let one = lane.learn(flow).await;
        let two = lane.learn(flow).await;
        println!("{} took {:?} {:?}", flow.word(), one.took, two.took);
        for (key, count) in &one.effects {
            println!("{key:?} {count} {:?}", two.effects.get(key));
        }
        let all = points(flow, &[one.effects.clone(), two.effects.clone()]);
        println!("{} points", all.len());
        let only = std::env::var("STEP").unwrap_or("api apply deployments".to_owned());
        for point in all.iter().filter(|p| p.step.contains(&only)) {
            let verdict = lane.suffer(point, &one).await;
            println!("{}: {verdict:?}", point.line());
        }
    }
}
