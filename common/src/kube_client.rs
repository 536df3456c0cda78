//! Clients of the Kubernetes API.
//!
//! Never tries a request again by itself: a retried write would hide an ambiguous one, and only an
//! error's class decides what happens next. Watches get a client, and so connections, of their own.

use std::time::Duration;

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use crate::class::{Classify, ErrorClass};
use crate::config::CommonArgs;

const CONNECT: Duration = Duration::from_secs(5);
/// Above what any single request may take.
const ANSWER: Duration = Duration::from_secs(30);
const WRITE: Duration = Duration::from_secs(10);

/// No client can be made.
#[derive(Debug, thiserror::Error)]
pub enum KubeClientError {
    /// The kubeconfig can't be used.
    #[error("failed to use the kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is neither a kubeconfig nor a pod's service account.
    #[error("failed to use the pod's service account (outside a pod, set KUBECONFIG): {0}")]
    InCluster(#[from] InClusterError),
    /// Its certificates or address can't be used.
    #[error("failed to make a Kubernetes client: {0}")]
    Client(#[from] kube::Error),
}

impl Classify for KubeClientError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}

/// A client for requests that end: no retries, connect within 5 s, an answer within 30 s.
pub async fn client(args: &CommonArgs) -> Result<Client, KubeClientError> {
    let mut config = config(args).await?;
    config.read_timeout = Some(ANSWER);
    // A pooled connection's idle time must not count against the next answer.
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// The same without a limit on how long an answer may be silent: for watches, and for who limits each request itself.
/// The limit costs two system calls and a look at all timers for each answer.
pub async fn unlimited_client(args: &CommonArgs) -> Result<Client, KubeClientError> {
    let mut config = config(args).await?;
    config.read_timeout = None;
    Ok(Client::try_from(config)?)
}

async fn config(args: &CommonArgs) -> Result<Config, KubeClientError> {
    let mut config = match &args.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => Config::incluster()?,
    };
    config.default_retry = false;
    config.disable_compression = true;
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_never_repeated_by_the_client() {
        let path =
            std::env::temp_dir().join(format!("signalbox-kubeconfig-{}", std::process::id()));
        let text = "{apiVersion: v1, kind: Config, current-context: c, \
            clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}], \
            users: [{name: u, user: {token: t}}], contexts: [{name: c, context: {cluster: c, user: u}}]}";
        std::fs::write(&path, text).unwrap();
        let args = CommonArgs {
            kubeconfig: Some(path.clone()),
            ..CommonArgs::default()
        };
        let config = config(&args).await.unwrap();
        assert!(!config.default_retry);
        std::fs::remove_file(&path).unwrap();
        let error = client(&args).await.err().unwrap();
        assert_eq!(error.class(), ErrorClass::Invalid);
    }
}
