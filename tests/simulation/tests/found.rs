//! What the simulation found, each as the shortest story that shows it.

use serde_json::json;
use signalbox_simulation::options::{Act, Options};
use signalbox_simulation::trace;
use signalbox_simulation::trigger::Ask;
use signalbox_simulation::user::{Meddling, Wish};

fn user(wish: Wish) -> Act {
    Act::User("web".to_owned(), wish)
}

/// The image of the app is to be this version.
fn image(version: u32) -> Act {
    user(Wish::Change(
        json!({ "image": format!("example.com/web:{version}") }),
    ))
}

/// The migration is to have these files.
fn files(names: &[&str]) -> Act {
    user(Wish::Migrate(
        names.iter().map(ToString::to_string).collect(),
    ))
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

/// Seed 6033: an app that goes while its volume was never seen takes it along nevertheless.
#[test]
fn a_volume_never_seen_goes_with_its_app() {
    let volume = json!({
        "storage": { "size": "1Gi", "mountPath": "/data" },
        "deletion": { "gracePeriodSeconds": 1, "storage": "Delete" },
    });
    ends_well(vec![
        (400, Act::Silence("PersistentVolumeClaim", 20_000)),
        (500, user(Wish::Create(volume))),
        (6000, user(Wish::Delete)),
    ]);
}

/// While Services are not seen, another first revision begins: the traffic stays where pods serve.
#[test]
fn a_service_stays_with_the_pods_that_serve() {
    ends_well(vec![
        (400, Act::Silence("Service", 3200)),
        (500, user(Wish::Create(json!({})))),
        (1000, image(2)),
    ]);
}

/// Seed 6043: by a status from before the promotion, the old revision would serve, which has no pod any more.
#[test]
fn a_late_status_turns_no_service_to_a_revision_without_pods() {
    let quick = json!({ "rollout": { "drainSeconds": 2 } });
    for silence in (8000..18_000).step_by(500) {
        let mut story = vec![
            (500, user(Wish::Create(quick.clone()))),
            (8000, image(2)),
            (silence + 1, Act::Silence("PortfolioApp", 12_000)),
        ];
        story.sort_by_key(|(at, _)| *at);
        ends_well(story);
    }
}

/// Seed 75784: no pods are wanted for a moment, and the plan for that comes late: what serves by then stays.
#[test]
fn a_late_plan_for_no_pods_takes_none() {
    let none = json!({ "image": "example.com/web:2", "replicas": 0 });
    for silence in (8001..8400).step_by(7) {
        ends_well(vec![
            (500, user(Wish::Create(json!({ "replicas": 2 })))),
            (8000, user(Wish::Change(none.clone()))),
            (silence, Act::Silence("PortfolioApp", 3000)),
            (silence + 1, user(Wish::Change(json!({ "replicas": 2 })))),
        ]);
    }
}

/// Seed 83929: who led stood still until another one led, with as many flights as there may be. It knows by its own
/// clock that it leads no more, and sends nothing before it has looked.
#[test]
fn a_leader_that_stood_still_sends_nothing() {
    for since in (1090..=1110).step_by(5) {
        let report = trace(&a_leader_stands_still(since, 4000));
        assert_eq!(report.broken, Vec::<String>::new(), "since {since}");
    }
}

/// Seed 6892: its Events were on their way when it stood still. They come nevertheless, beside those of the one that
/// leads by then and has others to send: each stream holds its bound, and everything ends well.
#[test]
fn what_a_leader_had_sent_before_it_stood_still_comes_late() {
    for others in (7000..7200).step_by(20) {
        let mut options = a_leader_stands_still(720, 6500);
        options.rates.delay = 80;
        let more = (60..120).map(|number| (others, created(number)));
        options.timeline.extend(more);
        let report = trace(&options);
        assert_eq!(report.broken, Vec::<String>::new(), "others at {others}");
    }
}

fn created(number: u32) -> Act {
    Act::User(format!("app-{number}"), Wish::Create(json!({})))
}

/// 60 apps are made at 500, and the watcher that leads stands still.
fn a_leader_stands_still(since: u64, long: u64) -> Options {
    let mut options = Options::quiet(1);
    options.watchers = 2;
    options.patience = 120_000;
    options.timeline = (0..60).map(|number| (500, created(number))).collect();
    let stand_still = Act::Freeze("watcher-1".to_owned(), long);
    options.timeline.push((since, stand_still));
    options.faults_end = 8000;
    options
}

/// What has just taken over is gone in its drain and can't be made again; by then this image is asked for.
fn gone_in_its_drain(next: u32) {
    let slow = json!({ "rollout": { "drainSeconds": 10 } });
    for at in (10_000..20_000).step_by(500) {
        ends_well(vec![
            (500, user(Wish::Create(slow.clone()))),
            (8000, image(2)),
            (at, image(next)),
            (at + 10, user(Wish::Meddle(Meddling::Config))),
            (at + 20, user(Wish::Meddle(Meddling::Delete("Deployment")))),
        ]);
    }
}

/// Seed 91994: the others never drain, and another revision begins nevertheless.
#[test]
fn a_drain_that_cannot_end_holds_up_no_other_revision() {
    gone_in_its_drain(3);
}

/// The same with the earlier revision, whose pods still run: emptied first, it would never come back.
#[test]
fn an_earlier_revision_comes_back_for_one_that_is_gone() {
    gone_in_its_drain(1);
}

/// Seed 27066: what stood in a create's way is deleted; it was remembered for ever, and each plan rested on it.
#[test]
fn a_conflict_that_is_gone_is_forgotten() {
    for silence in 2100..2200 {
        ends_well(vec![
            (400, Act::Silence("Service", silence)),
            (500, user(Wish::Create(json!({})))),
            (15_000, user(Wish::Meddle(Meddling::Delete("Service")))),
        ]);
    }
}

/// The same without any watch that tells of it: the list that follows has it no more.
#[test]
fn a_conflict_that_no_watch_has_shown_is_forgotten() {
    ends_well(vec![
        (400, Act::Silence("Service", 20_000)),
        (500, user(Wish::Create(json!({})))),
        (1000, image(2)),
        (8000, user(Wish::Meddle(Meddling::Delete("Service")))),
        (9000, Act::Compact),
    ]);
}

/// Seed 50439: contract ran for a newer revision, and the older one is refused, also when the migration that knew of it
/// was deleted and made anew.
#[test]
fn a_refusal_outlives_the_migration_that_it_rests_on() {
    let both = ["V1__a.sql", "V2__contract.sql"];
    let create = json!({
        "image": "example.com/web:1",
        "migrations": { "name": "web-schema" },
        "rollout": { "drainSeconds": 0 },
    });
    ends_well(vec![
        (300, files(&["V1__a.sql"])),
        (500, user(Wish::Create(create))),
        (10_000, image(2)),
        (10_010, files(&both)),
        (30_000, image(1)),
        (40_000, user(Wish::DropMigration)),
        (50_000, files(&both)),
    ]);
}

/// Two triggers of the very same time, each sent twice: each is applied once.
#[test]
fn triggers_of_one_time_are_applied_once_each() {
    let trigger = |id: &str, image: &str| {
        let ask = Ask {
            id: id.to_owned(),
            made_at: 4000,
            image: Some(image.to_owned()),
        };
        Act::Trigger("web".to_owned(), ask)
    };
    let (first, second) = (
        || trigger("one", "example.com/web:2"),
        || trigger("two", "example.com/web:3"),
    );
    ends_well(vec![
        (500, user(Wish::Create(json!({})))),
        (5000, first()),
        (8000, second()),
        (11_000, first()),
        (14_000, second()),
    ]);
}

/// Replicas that change while the old revision drains, and are seen only when contract can begin: one plan asked
/// twice for the same pods, which no executor takes, and the app stood still.
#[test]
fn replicas_changed_while_an_old_revision_drains() {
    let create = json!({
        "migrations": { "name": "web-schema" },
        "rollout": { "drainSeconds": 10, "progressDeadlineSeconds": 60 },
    });
    ends_well(vec![
        (300, files(&["V1__a.sql"])),
        (500, user(Wish::Create(create))),
        (10_000, image(2)),
        (18_000, Act::BusAway(14_000)),
        (20_000, user(Wish::Change(json!({ "replicas": 5 })))),
        (33_000, Act::Join),
    ]);
}

/// A file that was taken out while it was applied, and came back: what had been applied was never known again.
#[test]
fn a_file_taken_out_while_it_is_applied_comes_back() {
    let (one, two) = (["V1__a.sql"], ["V1__a.sql", "V2__b.sql"]);
    let create = json!({ "migrations": { "name": "web-schema" } });
    ends_well(vec![
        (300, files(&one)),
        (500, user(Wish::Create(create))),
        (10_000, files(&two)),
        (10_050, image(2)),
        (10_600, files(&one)),
        (20_000, files(&two)),
    ]);
}
