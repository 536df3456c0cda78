//! A part is killed or stopped and another one goes on: how long until a change that was made right then is served.

use std::time::{Duration, Instant};

use serde_json::Value;
use signalbox_proxy::{Fault, Masks, Place, Plan};
use signalbox_tests::figures::{figures, held_to};
use signalbox_tests::fleet::{self, is_current, name};
use signalbox_tests::{Objects, Part, PartProcess, World, WorldOptions, eventually};

use crate::{PATIENCE, proxied, rounds};

const APPS: usize = 20;
/// The p95 of what is served after a failover.
const BAR: Duration = Duration::from_secs(5);
/// A leader that holds still for this long has lost its Lease long ago, and does not know.
const STILL: Duration = Duration::from_secs(6);

/// Waits until the status of an app is of its newest generation.
async fn served(objects: &Objects, number: usize) {
    eventually("the change is served", PATIENCE, || async {
        let app = objects.get("papp", &name(number)).await;
        if is_current(&app) {
            Ok(())
        } else {
            Err(app["status"].to_string())
        }
    })
    .await;
}

/// The instance that holds the watchers' Lease.
async fn holder(system: &Objects) -> String {
    let lease = system.find("lease", "signalbox-watcher").await;
    let holder = lease.as_ref().map(|lease| &lease["spec"]["holderIdentity"]);
    holder
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Waits until one of two watchers leads and the other could; returns the place of the former.
async fn leads(system: &Objects, watchers: &[PartProcess]) -> usize {
    eventually("one leads, the other is ready to", PATIENCE, || async {
        let now = holder(system).await;
        let place = watchers.iter().position(|one| one.instance == now);
        let place = place.ok_or_else(|| format!("{now:?} leads"))?;
        for watcher in watchers {
            let (code, text) = watcher.answer("/readyz").await;
            if code != 200 {
                return Err(text);
            }
        }
        let told = watchers[place].metric("signalbox_watcher_leader").await;
        if told == Some(1.0) {
            Ok(place)
        } else {
            Err(format!("{told:?}"))
        }
    })
    .await
}

async fn fleet_of(world: &World) -> Objects {
    let objects = world.namespace(&[]).await;
    fleet::create(world, &objects, APPS).await;
    fleet::settles(world, &objects, PATIENCE).await;
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_followed_at_once() {
    let world = World::start("steady-leader", WorldOptions::BARE).await;
    let mut watchers = vec![world.part(Part::Watcher), world.part(Part::Watcher)];
    let _others = [world.part(Part::Planner), world.part(Part::Executor)];
    let system = world.objects("signalbox-system").await;
    let objects = fleet_of(&world).await;
    let mut times = Vec::new();
    for round in 0..rounds() {
        let leader = leads(&system, &watchers).await;
        watchers[leader].kill().await;
        let killed = Instant::now();
        fleet::update(&objects, round % APPS, &format!("killed-{round}")).await;
        served(&objects, round % APPS).await;
        times.push(killed.elapsed());
        drop(watchers.remove(leader));
        watchers.push(world.part(Part::Watcher));
    }
    fleet::settles(&world, &objects, PATIENCE).await;
    let p95 = figures("failover-watcher-killed", &times);
    assert!(p95 <= held_to(BAR), "{times:?}");
}

/// An executor dies right before a write; the plans that it held are done by another one.
#[tokio::test(flavor = "multi_thread")]
async fn plans_of_a_killed_executor_are_resumed_at_once() {
    let world = World::start("steady-executor", WorldOptions::BARE).await;
    let _others = [world.part(Part::Watcher), world.part(Part::Planner)];
    let _spare = world.part(Part::Executor);
    let mut mortal = proxied(&world, Part::Executor).await;
    let objects = fleet_of(&world).await;
    let mut times = Vec::new();
    let mut changes = 0;
    for round in 0..rounds() {
        let director = mortal.proxy.director.clone();
        let rule = Plan::once_any("api apply deployments *", Fault::Kill(Place::Before));
        director.begin(Masks::none(), rule);
        let deaths = director.deaths();
        // Which of the two is given a plan is the bus's affair: changes come until the one dies.
        let died = eventually("it dies in the middle of a plan", PATIENCE, || {
            changes += 1;
            let word = format!("dies-{changes}");
            let (objects, director) = (&objects, &director);
            async move {
                let made = Instant::now();
                for number in 0..4 {
                    fleet::update(objects, number, &word).await;
                }
                let died = director.died(deaths);
                let died = tokio::time::timeout(Duration::from_secs(1), died).await;
                died.map(|()| made)
            }
        })
        .await;
        for number in 0..4 {
            served(&objects, number).await;
        }
        println!("round {round}: {:?}", died.elapsed());
        times.push(died.elapsed());
        mortal.start(&world);
        fleet::settles(&world, &objects, PATIENCE).await;
        let process = mortal.process();
        eventually("it takes plans again", PATIENCE, || async {
            match process.answer("/readyz").await {
                (200, _) => Ok(()),
                (_, text) => Err(text),
            }
        })
        .await;
    }
    let p95 = figures("failover-executor-killed", &times);
    assert!(p95 <= held_to(BAR), "{times:?}");
}

/// A leader holds still longer than its Lease lasts, and goes on: for a moment there are two.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_held_still_is_harmless() {
    let world = World::start("steady-two", WorldOptions::BARE).await;
    let mut watchers = vec![world.part(Part::Watcher), world.part(Part::Watcher)];
    let _others = [world.part(Part::Planner), world.part(Part::Executor)];
    let system = world.objects("signalbox-system").await;
    let objects = fleet_of(&world).await;
    let sampler = world.bus().await.sample();
    let mut times = Vec::new();
    for round in 0..rounds() {
        let leader = leads(&system, &watchers).await;
        watchers[leader].pause();
        let paused = Instant::now();
        fleet::update(&objects, round % APPS, &format!("paused-{round}")).await;
        served(&objects, round % APPS).await;
        times.push(paused.elapsed());
        // The standby leads; the other one goes on where it stood, at different lengths.
        let length = STILL * u32::try_from(1 + round % 2).unwrap();
        tokio::time::sleep(length.saturating_sub(paused.elapsed())).await;
        watchers[leader].resume();
        for number in 0..APPS {
            fleet::update(&objects, number, &format!("two-{round}")).await;
        }
        fleet::settles(&world, &objects, PATIENCE).await;
    }
    let peak = sampler.finish().await;
    let p95 = figures("failover-leader-paused", &times);
    assert!(peak.stream <= 50 && peak.flights <= 50, "{peak:?}");
    assert!(p95 <= held_to(BAR), "{times:?}");
}
