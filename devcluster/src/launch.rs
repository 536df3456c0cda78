//! One start of one server: its command line, and what ready means for it.
//!
//! Never tries again: whether a failed start is repeated is decided by the caller.

use crate::cluster::DevCluster;
use crate::command_line::CommandLine;
use crate::commands;
use crate::error::DevClusterError;
use crate::ports::Port;
use crate::process::Process;
use crate::readiness::{LIMIT, holds_within, http_ok, listens, nats_greets};
use crate::servers::{Server, Tool};

impl DevCluster {
    /// Starts `server` and waits until it is ready, its end, or the limit.
    pub(crate) async fn launch(&self, server: Server) -> Result<(), DevClusterError> {
        let log = self.folder.logs().join(format!("{server}.log"));
        let mut process = Process::start(self.command(server)?, &log)?;
        let mut died = false;
        let ready = holds_within(LIMIT, async || {
            died = process.has_ended();
            died || self.is_ready(server).await
        })
        .await;
        if died || process.has_ended() {
            let tail = process.log_tail();
            return Err(DevClusterError::Died { server, log, tail });
        }
        if !ready {
            let tail = process.log_tail();
            return Err(DevClusterError::NotReady {
                server,
                seconds: LIMIT.as_secs(),
                log,
                tail,
            });
        }
        self.processes().insert(server, process);
        Ok(())
    }

    fn command(&self, server: Server) -> Result<CommandLine, DevClusterError> {
        let Self {
            folder,
            credentials,
            options,
            ..
        } = self;
        let missing = || DevClusterError::NotInCluster { server };
        match server {
            Server::Etcd => Ok(commands::etcd(
                self.tool(Tool::Etcd, server)?,
                folder,
                self.ports.get(Port::EtcdClient)?,
                self.ports.get(Port::EtcdPeer)?,
            )),
            Server::ApiServer => {
                let ports = [
                    self.ports.get(Port::ApiServer)?,
                    self.ports.get(Port::EtcdClient)?,
                ];
                credentials.write_kubeconfigs(folder, &self.api_url())?;
                let tool = self.tool(Tool::KubeApiserver, server)?;
                commands::api_server(tool, folder, credentials, options, ports)
            }
            Server::ControllerManager => {
                let tool = self.tool(Tool::KubeControllerManager, server)?;
                commands::controller_manager(tool, folder, credentials)
            }
            Server::Scheduler => {
                commands::scheduler(self.tool(Tool::KubeScheduler, server)?, folder, credentials)
            }
            Server::Kwok => {
                commands::kwok(self.tool(Tool::Kwok, server)?, folder, credentials, options)
            }
            Server::Nats => commands::nats(
                self.tool(Tool::NatsServer, server)?,
                folder,
                options.nats.as_ref().ok_or_else(missing)?,
                self.ports.get(Port::Nats)?,
                &self.nats_name(),
            ),
            Server::Postgres => Ok(self
                .postgres
                .get()
                .ok_or_else(missing)?
                .command(self.ports.get(Port::Postgres)?)),
        }
    }

    async fn is_ready(&self, server: Server) -> bool {
        let port = |port| self.ports.known(port).unwrap_or(0);
        match server {
            Server::Etcd => http_ok(port(Port::EtcdClient), "/health").await,
            Server::ApiServer => {
                listens(port(Port::ApiServer)).await
                    && self.kubectl(&["get", "--raw", "/readyz"]).await.is_ok()
            }
            // They serve nothing; `start` waits for what they do.
            Server::ControllerManager | Server::Scheduler | Server::Kwok => true,
            Server::Nats => nats_greets(port(Port::Nats), &self.nats_name()).await,
            Server::Postgres => match self.postgres.get() {
                Some(postgres) => postgres.is_ready(port(Port::Postgres)).await,
                None => false,
            },
        }
    }
}
