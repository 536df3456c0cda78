//! The local control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok,
//! nats-server and PostgreSQL as real processes on loopback, for tests and `signalbox dev`.
//!
//! Decides which server binaries fit, which flags they get and when they count as ready. It never
//! fakes a server, never listens beyond 127.0.0.1, and leaves no process and no folder behind.
//!
//! ```no_run
//! # async fn example() -> Result<(), signalbox_devcluster::DevClusterError> {
//! use signalbox_devcluster::{ClusterOptions, DevCluster};
//!
//! let cluster = DevCluster::start(ClusterOptions::full("example")).await?;
//! let admin = cluster.kubeconfig("admin")?;
//! # drop(admin);
//! cluster.stop().await
//! # }
//! ```

mod access;
mod apt;
mod audit;
mod cluster;
mod command_line;
mod commands;
mod compaction;
mod companion;
mod credentials;
mod error;
mod faketime;
mod folder;
mod go_build;
mod kubectl;
mod launch;
mod locate;
mod options;
mod ports;
mod postgres;
mod process;
mod progress;
mod readiness;
mod servers;
mod stillness;

pub use cluster::DevCluster;
pub use companion::Companion;
pub use error::DevClusterError;
pub use faketime::faketime;
pub use go_build::cache_folder;
pub use locate::locate;
pub use options::{ClusterOptions, Identity, NatsOptions};
pub use ports::free_port;
pub use progress::{Progress, ProgressSink, to_stderr};
pub use servers::{Server, Tool};
pub use stillness::{go_on, hold_still};
