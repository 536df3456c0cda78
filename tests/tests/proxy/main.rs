//! Each fault of the proxy as a client sees it, and what it leaves on the real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a failed step ends a suite; a scenario is told in one piece"
)]

mod api;
mod bus;
mod past;
mod sql;

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command};
use std::time::Duration;

use signalbox_common::bus::SharedBus;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::config::CommonArgs;
use signalbox_proxy::{Masks, Plan};
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Part, World, WorldOptions, eventually};

const SOON: Duration = Duration::from_secs(10);
/// Nothing comes within this time: longer than any answer takes.
const SILENCE: Duration = Duration::from_millis(700);

/// A world, a proxy with the executor's identity, and a process that may be killed.
struct Case {
    world: World,
    part: ProxiedPart,
    victim: Child,
}

impl Case {
    async fn new(name: &str) -> Self {
        let options = WorldOptions {
            controllers: false,
            postgres: true,
        };
        let world = World::start(name, options).await;
        let nats = world.cluster.nats_url().unwrap();
        let part = ProxiedPart::new(&world, Part::Executor, nats, None, &[]).await;
        let mut case = Self {
            world,
            part,
            victim: sleeper(),
        };
        case.plan(Plan::default());
        case
    }

    /// The next run: this plan, and a process that lives.
    fn plan(&mut self, plan: Plan) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
        self.victim = sleeper();
        let director = &self.part.proxy.director;
        director.begin(Masks::none(), plan);
        director.attach(self.victim.id());
    }

    /// The bus as the part reaches it.
    async fn bus(&self) -> SharedBus {
        let arguments = CommonArgs {
            nats_url: self.part.proxy.nats_url(),
            ..self.world.common_args("executor")
        };
        JetStreamBus::connect(&arguments, Role::Executor)
            .await
            .unwrap()
    }

    async fn is_killed(&mut self) {
        let victim = &mut self.victim;
        eventually("the part is killed", SOON, || {
            let status = victim.try_wait().unwrap();
            async move {
                match status.and_then(|status| status.signal()) {
                    Some(9) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
    }

    fn lives(&mut self) -> bool {
        self.victim.try_wait().unwrap().is_none()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").spawn().unwrap()
}
