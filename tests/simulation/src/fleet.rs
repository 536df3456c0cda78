//! The parts: the real code of watcher, planner and executor, each as a process of its own.
//!
//! Decides how they are started and named; what kills them is the net or the timeline.

use std::collections::BTreeMap;
use std::sync::Arc;

use signalbox_common::config::CommonArgs;
use signalbox_common::part::Part;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::Server;
use crate::bus::SimulatedBus;
use crate::database::SimulatedDatabase;
use crate::net::{Net, role};

/// All parts that run or ran.
pub struct Fleet {
    server: Arc<Server>,
    bus: Arc<SimulatedBus>,
    net: Arc<Net>,
    database: Arc<SimulatedDatabase>,
    died: mpsc::UnboundedSender<String>,
    running: BTreeMap<String, Part>,
    started: u64,
    seed: u64,
}

impl Fleet {
    /// None yet; the ids of parts follow from `seed`.
    #[must_use]
    pub const fn new(
        server: Arc<Server>,
        bus: Arc<SimulatedBus>,
        net: Arc<Net>,
        database: Arc<SimulatedDatabase>,
        died: mpsc::UnboundedSender<String>,
        seed: u64,
    ) -> Self {
        Self {
            server,
            bus,
            net,
            database,
            died,
            running: BTreeMap::new(),
            started: 0,
            seed,
        }
    }

    /// Starts the process of a slot, `executor-1`; `anew`: as another pod, with another name.
    pub fn start(&mut self, slot: &str, anew: bool) {
        self.started += 1;
        let name = format!("{slot}.{}", self.started);
        let part = Part::new(
            &name,
            self.net.now(),
            tokio::time::Instant::now(),
            self.seed ^ (self.started << 32),
        );
        self.net.note(format_args!("start {name}"));
        let common = CommonArgs {
            instance: if anew { name } else { slot.to_owned() },
            cluster: "sim".to_owned(),
            kubeconfig: None,
            nkey_file: None,
            ..CommonArgs::default()
        };
        let bus = self.bus.line(&part);
        let database = self.database.line(&part);
        let client = self.server.client(&part, &self.net);
        let (died, net, own) = (self.died.clone(), self.net.clone(), part.clone());
        let role = role(slot).to_owned();
        let watches = self.server.client(&part, &self.net);
        part.start(async move {
            let end = CancellationToken::new();
            let ended = match role.as_str() {
                "watcher" => {
                    let args = signalbox_watcher::Args {
                        common,
                        namespace: signalbox_crds::names::OPERATOR_NAMESPACE.to_owned(),
                        force_active: false,
                    };
                    let ran = signalbox_watcher::run_with(args, bus, watches, client, end).await;
                    ran.map_err(|error| error.to_string())
                }
                "planner" => {
                    let ran = signalbox_planner::service::run_with(bus, &common, end).await;
                    ran.map_err(|error| error.to_string())
                }
                _ => {
                    let args = signalbox_executor::Args {
                        common,
                        digest_key_files: Vec::new(),
                        max_plans: 50,
                    };
                    let ran = signalbox_executor::run_with(args, client, bus, database, end).await;
                    ran.map_err(|error| error.to_string())
                }
            };
            net.note(format_args!("{} ended: {ended:?}", own.name()));
            // Nobody listens at the end of a run.
            let _ = died.send(own.name().to_owned());
        });
        self.running.insert(slot.to_owned(), part);
    }

    /// The slot of a part that ended, if nothing has taken its place yet.
    #[must_use]
    pub fn slot_of(&self, part: &str) -> Option<String> {
        let (slot, running) = self
            .running
            .iter()
            .find(|(_, running)| running.name() == part)?;
        running.kill();
        Some(slot.clone())
    }

    /// The process of a slot.
    #[must_use]
    pub fn part(&self, slot: &str) -> Option<&Part> {
        self.running.get(slot)
    }

    /// All slots.
    #[must_use]
    pub fn slots(&self) -> Vec<String> {
        self.running.keys().cloned().collect()
    }
}
