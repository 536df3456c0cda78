//! One running local control plane.
//!
//! Decides the order of starts and ends, and what has to be there before `start` returns. Servers
//! keep their ports and data when stopped and started. Never leaves a process: dropping it kills.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use rustix::process::Signal;

use crate::commands;
use crate::credentials::Credentials;
use crate::error::DevClusterError;
use crate::folder::Folder;
use crate::locate::locate;
use crate::options::ClusterOptions;
use crate::ports::PortTable;
use crate::postgres::Postgres;
use crate::process::Process;
use crate::progress::{ProgressSink, to_stderr};
use crate::readiness::{LIMIT, POLL, holds_within};
use crate::servers::{Server, Tool};

/// How often another port is tried, when another process was faster.
const PORT_TRIES: usize = 5;
/// Order of ending; starting goes the other way.
const ENDING: [Server; 7] = [
    Server::Kwok,
    Server::Scheduler,
    Server::ControllerManager,
    Server::ApiServer,
    Server::Etcd,
    Server::Nats,
    Server::Postgres,
];

/// A running local control plane; dropping it kills all servers and removes a temporary folder.
#[derive(Debug)]
pub struct DevCluster {
    pub(crate) processes: Mutex<BTreeMap<Server, Process>>,
    pub(crate) ports: PortTable,
    pub(crate) options: ClusterOptions,
    pub(crate) tools: BTreeMap<Tool, PathBuf>,
    pub(crate) credentials: Credentials,
    pub(crate) postgres: OnceLock<Postgres>,
    // Fields are dropped after `Drop` ran, so the processes have ended when this folder goes.
    pub(crate) folder: Folder,
}

impl DevCluster {
    /// Starts the servers that `options` ask for, and returns when they are ready.
    ///
    /// Servers that are neither on the machine nor in the cache are built first, which takes
    /// minutes, once; what happens then is told on stderr.
    pub async fn start(options: ClusterOptions) -> Result<Self, DevClusterError> {
        Self::start_with(options, &to_stderr()).await
    }

    /// The same, with progress to a sink of the caller.
    pub async fn start_with(
        options: ClusterOptions,
        progress: &ProgressSink,
    ) -> Result<Self, DevClusterError> {
        let tools = locate(&tools_of(&options), progress).await?;
        let folder = Folder::create(options.root.as_deref(), &options.name)?;
        let credentials = Credentials::create(&folder, &options.identities)?;
        let cluster = Self {
            processes: Mutex::default(),
            ports: PortTable::default(),
            postgres: OnceLock::new(),
            options,
            tools,
            credentials,
            folder,
        };
        tokio::try_join!(
            cluster.start_kubernetes(),
            cluster.start_nats(),
            cluster.start_postgres(progress),
        )?;
        Ok(cluster)
    }

    async fn start_kubernetes(&self) -> Result<(), DevClusterError> {
        self.start_server(Server::Etcd).await?;
        self.start_server(Server::ApiServer).await?;
        self.wait_for(
            "the default namespaces",
            &["get", "namespace", "default", "kube-system"],
        )
        .await?;
        if !self.options.controllers {
            return Ok(());
        }
        self.apply(commands::OBJECTS).await?;
        tokio::try_join!(
            self.start_server(Server::ControllerManager),
            self.start_server(Server::Scheduler),
            self.start_server(Server::Kwok),
        )?;
        self.wait_for(
            "default service accounts",
            &["get", "sa", "default", "-n", "default"],
        )
        .await?;
        let ready = [
            "wait",
            "--for=condition=Ready",
            "node",
            "--all",
            "--timeout=1s",
        ];
        self.wait_for("ready nodes", &ready).await
    }

    async fn wait_for(&self, what: &'static str, question: &[&str]) -> Result<(), DevClusterError> {
        let mut dead = None;
        let settled = holds_within(LIMIT, async || {
            dead = self.dead_server();
            dead.is_some() || self.kubectl(question).await.is_ok()
        });
        let settled = settled.await;
        if let Some(died) = dead {
            return Err(died);
        }
        if settled {
            return Ok(());
        }
        Err(DevClusterError::NotSettled {
            what,
            seconds: LIMIT.as_secs(),
            logs: self.folder.logs(),
        })
    }

    async fn start_nats(&self) -> Result<(), DevClusterError> {
        if self.options.nats.is_some() {
            self.start_server(Server::Nats).await
        } else {
            Ok(())
        }
    }

    async fn start_postgres(&self, progress: &ProgressSink) -> Result<(), DevClusterError> {
        if !self.options.postgres {
            return Ok(());
        }
        let prepared = Postgres::prepare(&self.folder, progress).await?;
        self.postgres.get_or_init(|| prepared);
        self.start_server(Server::Postgres).await
    }

    /// Starts a stopped server on the port and data it had; nothing happens if it runs.
    pub async fn start_server(&self, server: Server) -> Result<(), DevClusterError> {
        if self.pid(server).is_some() {
            return Ok(());
        }
        let known_port = self.ports.has_any_of(server);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.launch(server).await {
                // Another process took the port between choosing and binding.
                Err(DevClusterError::Died { tail, .. })
                    if tries < PORT_TRIES && tail.to_lowercase().contains("already in use") =>
                {
                    if known_port {
                        tokio::time::sleep(POLL * 10).await;
                    } else {
                        self.ports.forget(server);
                    }
                }
                done => return done,
            }
        }
    }

    /// Ends a server in order (SIGTERM, for PostgreSQL a fast shutdown), and waits for its end.
    pub async fn stop_server(&self, server: Server) -> Result<(), DevClusterError> {
        let signal = if server == Server::Postgres {
            Signal::INT
        } else {
            Signal::TERM
        };
        self.end(server, signal).await
    }

    /// Kills a server without warning (SIGKILL), and waits for its end.
    pub async fn kill_server(&self, server: Server) -> Result<(), DevClusterError> {
        self.end(server, Signal::KILL).await
    }

    async fn end(&self, server: Server, signal: Signal) -> Result<(), DevClusterError> {
        let taken = self.processes().remove(&server);
        let Some(mut process) = taken else {
            return Ok(());
        };
        let failed = |source| DevClusterError::Signal { server, source };
        process.signal(signal).map_err(failed)?;
        process.wait_or_kill().await.map_err(failed)
    }

    /// Ends all servers. A temporary folder goes at once, so its servers need no orderly end.
    pub async fn stop(self) -> Result<(), DevClusterError> {
        if self.folder.is_temporary() {
            return Ok(());
        }
        for server in ENDING {
            self.stop_server(server).await?;
        }
        Ok(())
    }
}

/// The programs that `options` need.
fn tools_of(options: &ClusterOptions) -> Vec<Tool> {
    let mut tools = vec![Tool::Etcd, Tool::KubeApiserver, Tool::Kubectl];
    if options.controllers {
        tools.extend([Tool::KubeControllerManager, Tool::KubeScheduler, Tool::Kwok]);
    }
    if options.nats.is_some() {
        tools.push(Tool::NatsServer);
    }
    tools
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        let mut processes = std::mem::take(&mut *self.processes());
        // All at once; each is then waited for when it is dropped.
        processes.values_mut().for_each(Process::condemn);
    }
}
