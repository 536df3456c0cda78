//! What a running part says of itself at /healthz, /readyz and /metrics, also while what it depends on is away.
//!
//! A lost server makes a part unready, never unhealthy: a restart heals no server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signalbox_devcluster::Server;
use signalbox_tests::process_stat::field;
use signalbox_tests::wait::throughout;
use signalbox_tests::{Part, PartProcess, World, WorldOptions, eventually, fleet};

const SOON: Duration = Duration::from_mins(1);

/// Waits until /readyz answers so, with a line that begins like this.
async fn readiness(part: &PartProcess, code: u16, line: &str) {
    let what = format!("{} answers {code} with `{line}`", part.instance);
    eventually(&what, SOON, || async {
        let (found, text) = part.answer("/readyz").await;
        if found == code && text.lines().any(|told| told.starts_with(line)) {
            Ok(())
        } else {
            Err(format!("{found}: {text}"))
        }
    })
    .await;
    assert_eq!(part.answer("/healthz").await.0, 200, "{}", part.instance);
}

/// Policy and niceness of a process; none where the kernel does not tell.
fn scheduling(process: &str) -> Option<(u32, i32)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let told = |number| field(&stat, number).unwrap();
    Some((told(41).parse().unwrap(), told(19).parse().unwrap()))
}

/// Where nothing else was decided for these tests, and so for what they start.
fn waits_its_turn(part: &PartProcess) {
    const BATCH: u32 = 3;
    if scheduling("self") == Some((0, 0)) {
        let found = scheduling(&part.pid().to_string());
        assert_eq!(found, Some((BATCH, 0)), "{}", part.instance);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_unready_while_a_server_is_away_and_says_which() {
    let world = World::start("health", WorldOptions::BARE).await;
    let (parts, _keeper) = (world.parts(), world.keep_bus());
    let [watcher, planner, executor] = parts.as_slice() else {
        panic!("one of each")
    };
    for part in &parts {
        readiness(part, 200, "bus: ok").await;
        let (code, metrics) = part.answer("/metrics").await;
        let own = format!("signalbox_{}_", part.part.name());
        assert!(code == 200 && metrics.contains(&own), "{metrics}");
        waits_its_turn(part);
    }
    let standby = world.part(Part::Watcher);
    readiness(&standby, 200, "watches: ok").await;

    world.cluster.stop_server(Server::Nats).await.unwrap();
    for part in &parts {
        readiness(part, 503, "bus: ").await;
    }
    throughout(
        "nobody asks to be restarted",
        Duration::from_secs(20),
        || async {
            for part in &parts {
                let (code, text) = part.answer("/healthz").await;
                if code != 200 {
                    return Err(format!("{}: {text}", part.instance));
                }
            }
            Ok(())
        },
    )
    .await;
    world.cluster.start_server(Server::Nats).await.unwrap();
    for part in &parts {
        readiness(part, 200, "bus: ok").await;
    }

    world.cluster.stop_server(Server::ApiServer).await.unwrap();
    readiness(watcher, 503, "watches: ").await;
    readiness(planner, 200, "bus: ok").await;
    world.cluster.start_server(Server::ApiServer).await.unwrap();
    for part in [watcher, &standby] {
        readiness(part, 200, "watches: ok").await;
    }
    readiness(executor, 200, "api: ok").await;
}

/// Threads that want all cores, until dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn cores() -> Self {
        let wanted = Arc::new(AtomicBool::new(true));
        let cores = std::thread::available_parallelism().unwrap().get();
        for _ in 0..2 * cores {
            let wanted = Arc::clone(&wanted);
            std::thread::spawn(move || while wanted.load(Ordering::Relaxed) {});
        }
        Self(wanted)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Who ask a part for its metrics all the time: enough to do for it, however slowly each of them comes to its turn.
const ASKERS: usize = 32;

/// Times that a part has gathered.
async fn pauses(part: &PartProcess) -> f64 {
    let told = part.metric("signalbox_scheduling_pauses_total").await;
    told.expect("the part tells it")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_gathers_while_others_want_its_core_and_listens_when_they_are_gone() {
    // The kernel must tell how long a thread waited.
    if std::fs::read_to_string("/proc/thread-self/schedstat").is_err() {
        return;
    }
    let world = World::start("health-busy", WorldOptions::BARE).await;
    let part = world.part(Part::Planner);
    readiness(&part, 200, "bus: ok").await;
    let others = Busy::cores();
    // A regression test: questions that rested between their rounds gave the part too little to do on a slow machine.
    let asked = futures::future::join_all(
        (0..ASKERS).map(|_| async { while pauses(&part).await <= 10.0 {} }),
    );
    let asked = tokio::time::timeout(SOON, asked).await;
    asked.expect("the part gathers");
    drop(others);
    eventually("it does no longer", SOON, || async {
        let before = pauses(&part).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = pauses(&part).await;
        after
            .total_cmp(&before)
            .is_eq()
            .then_some(())
            .ok_or(format!("{before}, {after} times"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_told_by_readiness() {
    let world = World::start("health-rights", WorldOptions::BARE).await;
    let watcher = world.part(Part::Watcher);
    readiness(&watcher, 200, "watches: ok").await;
    let take = r#"[{"op": "replace", "path": "/rules", "value": []}]"#;
    world
        .cluster
        .kubectl(&[
            "patch",
            "clusterrole",
            "signalbox-watcher",
            "--type=json",
            "-p",
            take,
        ])
        .await
        .unwrap();
    let restarted = world.part(Part::Watcher);
    readiness(&restarted, 503, "watches: blind: ConfigMap: forbidden").await;
    world.apply(&signalbox_common::rights::rbac_yaml()).await;
    readiness(&restarted, 200, "watches: ok").await;
}

/// A regression test: a watcher that started without the right to list one kind waited for its cache for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_may_not_be_listed_at_a_start_holds_up_nobody_for_long() {
    let world = World::start("health-blind", WorldOptions::BARE).await;
    let rights = signalbox_common::rights::rbac_yaml();
    let without = rights.replace("horizontalpodautoscalers", "nobodysautoscalers");
    assert_ne!(rights, without);
    world.apply(&without).await;
    let parts = world.parts();
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, 3).await;
    fleet::settles(&world, &objects, SOON).await;
    readiness(&parts[0], 503, "watches: blind: HorizontalPodAutoscaler").await;
    world.apply(&rights).await;
    readiness(&parts[0], 200, "watches: ok").await;
}
