//! What can go wrong on the command line: each error names what was given and what would be right.

use signalbox_common::bus::BusError;
use signalbox_common::kube_client::KubeClientError;
use signalbox_devcluster::DevClusterError;

/// A command could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// An argument can't be used.
    #[error("{0}")]
    Usage(String),
    /// No client for the API server.
    #[error(transparent)]
    Client(#[from] KubeClientError),
    /// The kubeconfig can't be used.
    #[error("failed to use the kubeconfig (set KUBECONFIG or --kubeconfig): {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// There is neither a kubeconfig nor a pod's service account.
    #[error("failed to find a cluster (set KUBECONFIG or --kubeconfig): {0}")]
    NoCluster(#[from] kube::config::InferConfigError),
    /// The API server refused or did not answer.
    #[error("failed to {act}: {source}")]
    Api {
        /// What was tried.
        act: String,
        /// Why it failed.
        #[source]
        source: kube::Error,
    },
    /// There is no such object.
    #[error("{kind} {name} does not exist in namespace {namespace} (another one: -n NAMESPACE)")]
    NotFound {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The namespace that was looked in.
        namespace: String,
    },
    /// The bus can't be used.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The bus can't be used for what was asked.
    #[error(
        "failed to {act} at {url} (another bus: --nats-url, an identity: --nkey-file): {reason}"
    )]
    Nats {
        /// What was tried.
        act: &'static str,
        /// Where.
        url: String,
        /// Why it failed.
        reason: String,
    },
    /// The local control plane failed.
    #[error(transparent)]
    DevCluster(#[from] DevClusterError),
    /// A file can't be read or written.
    #[error("failed to {act} {path}: {source}")]
    File {
        /// `read` or `write`.
        act: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Generated files differ from what the code says.
    #[error("{0} is not current (make it so with `make generate`)")]
    NotCurrent(String),
    /// The database can't be used.
    #[error("failed to {act}: {source}")]
    Database {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A part of the development setup ended.
    #[error("{part} ended: {reason}")]
    PartEnded {
        /// Which part.
        part: &'static str,
        /// What it said.
        reason: String,
    },
    /// Something that the demo checks is not as it should be.
    #[error("{step}: {found}")]
    Check {
        /// The step of the demo.
        step: String,
        /// What was found instead.
        found: String,
    },
    /// A document can't be written as YAML.
    #[error("failed to write {what}: {reason}")]
    Document {
        /// Which one.
        what: &'static str,
        /// Why.
        reason: String,
    },
}

impl CliError {
    /// An API error of an act.
    pub(crate) fn api(act: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let act = act.into();
        move |source| Self::Api { act, source }
    }

    /// A file error of an act.
    pub(crate) fn file(
        act: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::File { act, path, source }
    }
}
