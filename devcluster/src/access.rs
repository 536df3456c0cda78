//! What a running control plane tells: addresses, files, credentials, process ids.
//!
//! Never starts or ends a server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use crate::cluster::DevCluster;
use crate::credentials::ADMIN;
use crate::error::DevClusterError;
use crate::kubectl::Kubectl;
use crate::ports::Port;
use crate::process::Process;
use crate::servers::{Server, Tool};

impl DevCluster {
    /// The kubeconfig of `admin` or of an identity from the options.
    pub fn kubeconfig(&self, user: &str) -> Result<PathBuf, DevClusterError> {
        self.credentials.kubeconfig(user).map(Path::to_owned)
    }

    /// The bearer token of `admin` or of an identity from the options.
    pub fn token(&self, user: &str) -> Result<String, DevClusterError> {
        self.credentials.token(user).map(str::to_owned)
    }

    /// `https://127.0.0.1:<port>` of the API server.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!(
            "https://127.0.0.1:{}",
            self.ports.known(Port::ApiServer).unwrap_or(0)
        )
    }

    /// `nats://127.0.0.1:<port>`, if nats-server was asked for.
    #[must_use]
    pub fn nats_url(&self) -> Option<String> {
        self.ports
            .known(Port::Nats)
            .map(|port| format!("nats://127.0.0.1:{port}"))
    }

    /// URL of the database `postgres`, if PostgreSQL was asked for.
    #[must_use]
    pub fn postgres_url(&self) -> Option<String> {
        let port = self.ports.known(Port::Postgres)?;
        self.postgres
            .get()
            .map(|postgres| postgres.url(port, "postgres"))
    }

    /// The audit log (one JSON event per line), if it was asked for.
    #[must_use]
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.options
            .audit
            .then(|| self.folder.join("audit/audit.log"))
    }

    /// The folder with data, logs (`logs/`) and kubeconfigs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Path of a program of this cluster, such as kubectl.
    #[must_use]
    pub fn tool_path(&self, tool: Tool) -> Option<&Path> {
        self.tools.get(&tool).map(PathBuf::as_path)
    }

    /// Process id of a running server.
    #[must_use]
    pub fn pid(&self, server: Server) -> Option<u32> {
        let mut processes = self.processes();
        let process = processes.get_mut(&server)?;
        (!process.has_ended()).then(|| process.pid())
    }

    /// Resident memory of a running server in bytes, where `/proc` tells it.
    #[must_use]
    pub fn resident_bytes(&self, server: Server) -> Option<u64> {
        self.processes().get(&server)?.resident_bytes()
    }

    /// Makes a database and returns its URL.
    pub async fn create_database(&self, name: &str) -> Result<String, DevClusterError> {
        let missing = DevClusterError::NotInCluster {
            server: Server::Postgres,
        };
        let postgres = self.postgres.get().ok_or(missing)?;
        let port = self.ports.get(Port::Postgres)?;
        postgres.create_database(port, name).await?;
        Ok(postgres.url(port, name))
    }

    /// Runs kubectl as admin and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, DevClusterError> {
        self.admin()?.run(arguments, "").await
    }

    /// Applies YAML or JSON documents as admin, server-side.
    pub async fn apply(&self, documents: &str) -> Result<(), DevClusterError> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.admin()?.run(&arguments, documents).await.map(drop)
    }

    fn admin(&self) -> Result<Kubectl, DevClusterError> {
        Ok(Kubectl {
            program: self.tool(Tool::Kubectl, Server::ApiServer)?.to_owned(),
            kubeconfig: self.kubeconfig(ADMIN)?,
            cache: self.folder.join("kubectl-cache"),
        })
    }

    /// The path of `tool`, or that `server` is not part of this cluster.
    pub(crate) fn tool(&self, tool: Tool, server: Server) -> Result<&Path, DevClusterError> {
        self.tool_path(tool)
            .ok_or(DevClusterError::NotInCluster { server })
    }

    /// The name that nats-server greets with; it differs between clusters.
    pub(crate) fn nats_name(&self) -> String {
        let folder = self
            .folder
            .path()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        format!("{folder}-{}", self.ports.known(Port::Nats).unwrap_or(0))
    }

    /// The running servers. A panic elsewhere does not make this list wrong.
    pub(crate) fn processes(&self) -> MutexGuard<'_, BTreeMap<Server, Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A server that ended by itself.
    pub(crate) fn dead_server(&self) -> Option<DevClusterError> {
        let mut processes = self.processes();
        let (server, process) = processes
            .iter_mut()
            .find_map(|(server, process)| process.has_ended().then_some((*server, process)))?;
        let log = process.log().to_owned();
        Some(DevClusterError::Died {
            server,
            log,
            tail: process.log_tail(),
        })
    }
}
