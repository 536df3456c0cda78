//! Connections of the command line: to the API server and, for reading, to the bus.
//!
//! Decides which kubeconfig, context and namespace are meant. Never writes through them.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use signalbox_common::bus::rights::Role;

use crate::error::CliError;

/// Which cluster, and where in it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct KubeArgs {
    /// kubeconfig; without one the usual places.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without one the current one.
    #[arg(long)]
    pub context: Option<String>,
    /// Namespace; without one that of the context.
    #[arg(short, long)]
    pub namespace: Option<String>,
}

/// A client and the namespace that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl KubeArgs {
    /// Connects.
    pub async fn connect(&self) -> Result<Cluster, CliError> {
        let config = self.config().await?;
        let namespace = self.namespace.as_ref();
        let namespace = namespace.unwrap_or(&config.default_namespace).clone();
        let client = Client::try_from(config).map_err(CliError::api("make a client"))?;
        Ok(Cluster { client, namespace })
    }

    /// The namespace that is meant, for what needs no API server: `default` where no kubeconfig is.
    pub async fn namespace(&self) -> Result<String, CliError> {
        if let Some(namespace) = &self.namespace {
            return Ok(namespace.clone());
        }
        let named = self.kubeconfig.is_some() || self.context.is_some();
        match self.config().await {
            Ok(config) => Ok(config.default_namespace),
            Err(error) if named => Err(error),
            Err(_) => Ok("default".to_owned()),
        }
    }

    async fn config(&self) -> Result<Config, CliError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..Default::default()
        };
        Ok(match &self.kubeconfig {
            // KUBECONFIG may name several files, as for kubectl.
            Some(path) if !path.to_string_lossy().contains(':') => {
                let file = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &options).await?
            }
            Some(_) => Config::from_kubeconfig(&options).await?,
            None if self.context.is_some() => Config::from_kubeconfig(&options).await?,
            None => Config::infer().await?,
        })
    }
}

/// Which bus, and as whom.
#[derive(Clone, Debug, clap::Args)]
pub struct BusArgs {
    /// Servers of the bus, separated by commas.
    #[arg(
        long,
        env = "SIGNALBOX_NATS_URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats_url: String,
    /// File with the nkey seed of an identity on the bus.
    #[arg(long, env = "SIGNALBOX_NKEY_FILE")]
    pub nkey_file: Option<PathBuf>,
    /// Name of the Kubernetes cluster in subjects.
    #[arg(long, env = "SIGNALBOX_CLUSTER", default_value = "default")]
    pub cluster: String,
}

impl BusArgs {
    /// Connects as `role`; without a key as whatever the server takes an unnamed client for.
    pub async fn connect(&self, role: &Role) -> Result<async_nats::Client, CliError> {
        let mut options = async_nats::ConnectOptions::new()
            .name(format!("signalbox {role}"))
            .custom_inbox_prefix(role.inbox())
            .connection_timeout(Duration::from_secs(5));
        if let Some(path) = &self.nkey_file {
            let seed = std::fs::read_to_string(path).map_err(CliError::file("read", path))?;
            options = options.nkey(seed.trim().to_owned());
        }
        let servers: Vec<&str> = self.nats_url.split(',').map(str::trim).collect();
        options
            .connect(servers)
            .await
            .map_err(|error| CliError::Nats {
                act: "connect",
                url: self.nats_url.clone(),
                reason: error.to_string(),
            })
    }

    /// The same, as the parts want it.
    #[must_use]
    pub fn common(&self) -> signalbox_common::config::CommonArgs {
        signalbox_common::config::CommonArgs {
            nats_url: self.nats_url.clone(),
            nkey_file: self.nkey_file.clone(),
            cluster: self.cluster.clone(),
            ..Default::default()
        }
    }
}
