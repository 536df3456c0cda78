//! The parts as tasks of this process: each with the identity that it has in a cluster.
//!
//! Decides who runs with which kubeconfig and key; never what a part does.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use signalbox_common::bus::rights::Role;
use signalbox_common::rights::Component;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::keys;
use crate::error::CliError;

/// How long the parts may take to end.
const END: Duration = Duration::from_secs(15);

/// Where the parts find their servers and identities.
pub(super) struct Place<'a> {
    /// The local control plane.
    pub(super) cluster: &'a signalbox_devcluster::DevCluster,
    /// Servers of the bus.
    pub(super) nats_url: &'a str,
    /// Folder of the nkey seeds.
    pub(super) keys: &'a Path,
}

/// The running parts.
pub(super) struct Parts {
    tasks: JoinSet<(&'static str, Result<(), String>)>,
    stop: CancellationToken,
}

impl Parts {
    /// Starts watcher, planner and executor.
    pub(super) fn start(place: &Place<'_>) -> Result<Self, CliError> {
        let mut parts = Self {
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
        };
        let watcher: signalbox_watcher::Args =
            args(place, &Role::Watcher, Some(Component::Watcher))?;
        let planner: signalbox_planner::service::Args = args(place, &Role::Planner, None)?;
        let executor: signalbox_executor::Args =
            args(place, &Role::Executor, Some(Component::Executor))?;
        let (one, two, three) = (parts.stop.clone(), parts.stop.clone(), parts.stop.clone());
        parts.spawn("watcher", async move {
            signalbox_watcher::run(watcher, one).await
        });
        parts.spawn("planner", async move {
            signalbox_planner::service::run(planner, two).await
        });
        parts.spawn("executor", async move {
            signalbox_executor::run(executor, three).await
        });
        Ok(parts)
    }

    fn spawn<E: std::fmt::Display + Send + 'static>(
        &mut self,
        part: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks
            .spawn(async move { (part, work.await.map_err(|error| error.to_string())) });
    }

    /// Returns only when a part has ended by itself, with the reason.
    pub(super) async fn ended(&mut self) -> CliError {
        match self.tasks.join_next().await {
            Some(Ok((part, Ok(())))) => CliError::PartEnded {
                part,
                reason: "it was not asked to".to_owned(),
            },
            Some(Ok((part, Err(reason)))) => CliError::PartEnded { part, reason },
            Some(Err(error)) => CliError::PartEnded {
                part: "a part",
                reason: error.to_string(),
            },
            None => std::future::pending().await,
        }
    }

    /// Asks all parts to end, and waits until they have.
    pub(super) async fn stop(mut self) -> Result<(), CliError> {
        self.stop.cancel();
        let all = async {
            while let Some(done) = self.tasks.join_next().await {
                if let Ok((part, Err(reason))) = done {
                    return Err(CliError::PartEnded { part, reason });
                }
            }
            Ok(())
        };
        tokio::time::timeout(END, all).await.unwrap_or_else(|_| {
            let reason = format!(
                "still running {} s after it was asked to end",
                END.as_secs()
            );
            Err(CliError::PartEnded {
                part: "a part",
                reason,
            })
        })
    }
}

/// The arguments of a part, read from the flags that its own binary would get.
fn args<A: Parser>(
    place: &Place<'_>,
    role: &Role,
    component: Option<Component>,
) -> Result<A, CliError> {
    let mut words = vec![
        format!("signalbox-{role}"),
        format!("--nats-url={}", place.nats_url),
        format!("--nkey-file={}", keys::file(place.keys, role).display()),
        format!(
            "--signing-key-file={}",
            keys::signing_file(place.keys, role).display()
        ),
        format!(
            "--trusted-keys-file={}",
            keys::trusted_file(place.keys).display()
        ),
        format!("--instance={role}-1"),
        "--cluster=default".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
    ];
    if let Some(component) = component {
        let kubeconfig = place.cluster.kubeconfig(&component.user())?;
        words.push(format!("--kubeconfig={}", kubeconfig.display()));
    }
    A::try_parse_from(words).map_err(|error| CliError::Usage(format!("{role}: {error}")))
}
