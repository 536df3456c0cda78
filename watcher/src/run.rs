//! Starting the watcher: clients, tasks and channels; and what makes it end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{BusError, SharedBus};
use signalbox_common::class::{Classify, ErrorClass};
use signalbox_common::config::CommonArgs;
use signalbox_common::health::{self, Health, ServeError};
use signalbox_common::kube_client::{self, KubeClientError};
use signalbox_common::metrics::{Metrics, MetricsError};
use signalbox_common::{part, record};
use signalbox_crds::names::OPERATOR_NAMESPACE;
use tokio::sync::{Notify, mpsc, watch as cell};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::brain::{Brain, Ears, Means};
use crate::meters::Meters;
use crate::watch::{self, Source};
use crate::{compare, intake, lease, outcomes};

/// The loop moves at least this often.
const BEAT: Duration = Duration::from_secs(10);

/// What the watcher is told at start.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "signalbox-watcher", version, about)]
pub struct Args {
    /// Arguments of every part.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Namespace of the Lease.
    #[arg(long, env = "SIGNALBOX_NAMESPACE", default_value = OPERATOR_NAMESPACE)]
    pub namespace: String,
    /// Lead without the Lease, with half of the places: two such watchers are both active, which is harmless (and
    /// tested).
    #[arg(long, env = "SIGNALBOX_FORCE_ACTIVE")]
    pub force_active: bool,
}

/// Why the watcher ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No client for the API server.
    #[error(transparent)]
    Kube(#[from] KubeClientError),
    /// No connection to the bus.
    #[error("failed to connect to the bus: {0}")]
    Bus(#[from] BusError),
    /// The health server's address.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A metric that can't be made.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A task ended that never should.
    #[error("a task of the watcher ended: {0}")]
    Task(String),
}

impl Classify for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Kube(error) => error.class(),
            Self::Bus(error) => error.class(),
            Self::Serve(error) => error.class(),
            Self::Metrics(error) => error.class(),
            Self::Task(_) => ErrorClass::Fatal,
        }
    }
}

/// Runs the watcher until `shutdown`; then its Lease is given back.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), RunError> {
    record::set_source("watcher", &args.common.instance);
    let bus = JetStreamBus::connect(&args.common, Role::Watcher).await?;
    let watches = kube_client::unlimited_client(&args.common).await?;
    let client = kube_client::client(&args.common).await?;
    run_with(args, bus, watches, client, shutdown).await
}

/// The same with a bus and clients that are there already: one for watches, one for requests that end.
pub async fn run_with(
    args: Args,
    bus: SharedBus,
    watches: Client,
    client: Client,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let (health, metrics) = (Health::new(), Metrics::new("watcher"));
    let meters = Meters::new(&metrics)?;
    health::serve(
        args.common.listen,
        health.clone(),
        metrics,
        shutdown.clone(),
    )
    .await?;

    let ending = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let (leads, leading) = cell::channel(if args.force_active {
        lease::Leadership::Forced
    } else {
        lease::Leadership::Standby
    });
    let leader = (!args.force_active).then(|| {
        let instance = args.common.instance.clone();
        lease::lead(
            client.clone(),
            args.namespace.clone(),
            instance,
            leads.clone(),
            health.check("lease"),
            ending.clone(),
        )
    });
    let leader = part::spawn(async move {
        if let Some(leader) = leader {
            leader.await;
        }
    });

    let (told, ears_watches) = mpsc::channel(1024);
    let mut again = HashMap::new();
    for source in Source::all() {
        let notify = Arc::new(Notify::new());
        again.insert(source, notify.clone());
        let watching = watch::watch(watches.clone(), source, told.clone(), notify);
        tasks.spawn(part::own(watching));
    }
    let (tell, ears_outcomes) = mpsc::channel(64);
    let check = health.check("outcomes");
    let cluster = args.common.cluster.clone();
    let (drains, is_draining) = cell::channel(false);
    let draining = outcomes::drain(bus.clone(), cluster.clone(), is_draining, tell, check);
    tasks.spawn(part::own(draining));
    let (active, is_active) = cell::channel(false);
    let (tell, ears_triggers) = mpsc::channel(16);
    tasks.spawn(part::own(intake::take(bus.clone(), is_active, tell)));
    let (tell, ears_inventories) = mpsc::channel(1);
    tasks.spawn(part::own(compare::compare(client, tell)));

    let means = Means {
        bus,
        cluster,
        meters,
        beat: health.check_with_beat("loop", BEAT),
        watches: health.check("watches"),
        bus_check: health.check("bus"),
        drains,
        active,
        forced: args.force_active,
        again,
    };
    let ears = Ears {
        watches: ears_watches,
        outcomes: ears_outcomes,
        triggers: ears_triggers,
        inventories: ears_inventories,
        leading,
    };
    let mut brain = part::spawn(Brain::new(means).run(ears, ending.clone()));
    let ended = tokio::select! {
        biased;
        ended = &mut brain => ended.map_err(|error| RunError::Task(error.to_string())),
        Some(ended) = tasks.join_next() => {
            // They end when the loop stops listening; before that none ever does.
            let asked = shutdown.is_cancelled();
            ending.cancel();
            let looped = brain.await.map_err(|error| RunError::Task(error.to_string()));
            if asked { looped } else { Err(RunError::Task(format!("{ended:?}"))) }
        }
    };
    ending.cancel();
    tasks.abort_all();
    // The Lease is given back after the last Event was sent.
    if let Err(error) = leader.await {
        tracing::warn!(%error, "the Lease was not given back");
    }
    drop(leads);
    ended
}
