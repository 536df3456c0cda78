//! What the simulation found, each as the shortest story that shows it.

use serde_json::json;
use signalbox_simulation::options::{Act, Options};
use signalbox_simulation::trace;
use signalbox_simulation::user::Wish;

fn user(wish: Wish) -> Act {
    Act::User("web".to_owned(), wish)
}

fn ends_well(story: Vec<(u64, Act)>) {
    let mut options = Options::quiet(1);
    options.faults_end = story.last().map_or(0, |(at, _)| *at) + 1000;
    options.patience = 60_000;
    options.timeline = story;
    let report = trace(&options);
    assert_eq!(report.broken, Vec::<String>::new(), "{}", report.trace);
}

/// An app of the same name takes the volume that an earlier one left behind.
#[test]
fn a_volume_left_behind_is_taken() {
    let with_volume = json!({ "storage": { "size": "1Gi", "mountPath": "/data" } });
    ends_well(vec![
        (500, user(Wish::Create(with_volume.clone()))),
        (10_000, user(Wish::Delete)),
        (20_000, user(Wish::Create(with_volume))),
    ]);
}

/// While Services are not seen, another first revision begins: the traffic stays where pods serve.
#[test]
fn a_service_stays_with_the_pods_that_serve() {
    ends_well(vec![
        (400, Act::Silence("Service", 3200)),
        (500, user(Wish::Create(json!({})))),
        (
            1000,
            user(Wish::Change(json!({ "image": "example.com/web:2" }))),
        ),
    ]);
}
