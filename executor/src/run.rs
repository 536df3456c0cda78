//! The start and the end of an executor.
//!
//! Decides what it needs before it takes its first plan, and the order in which it ends: no new
//! plan, then the plans under way, then the long work.

use std::path::PathBuf;
use std::sync::Arc;

use signalbox_common::breaker::{Guardian, Rules};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{BusError, SharedBus};
use signalbox_common::class::{Classify, ErrorClass};
use signalbox_common::config::CommonArgs;
use signalbox_common::health::{self, Health, ServeError};
use signalbox_common::kube_client::{self, KubeClientError};
use signalbox_common::metrics::{Metrics, MetricsError};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::api::rights::Rights;
use crate::claims::{LongWork, LongWorkOptions};
use crate::limits::Limits;
use crate::metrics::ExecutorMetrics;
use crate::sql::{Database, Postgres};
use crate::worker::{self, Shared};

/// What an executor is told at start.
#[derive(Clone, Debug, PartialEq, Eq, clap::Parser)]
#[command(
    name = "signalbox-executor",
    version,
    about = "Applies plans: the only part that writes"
)]
pub struct Args {
    /// What every part is told.
    #[command(flatten)]
    pub common: CommonArgs,
    /// File with a digest key for references; the first one is used, the others are still valid.
    #[arg(
        long = "digest-key-file",
        env = "SIGNALBOX_DIGEST_KEY_FILE",
        value_delimiter = ','
    )]
    pub digest_key_files: Vec<PathBuf>,
    /// Plans at once.
    #[arg(long, env = "SIGNALBOX_MAX_PLANS", default_value_t = 50, value_parser = at_least_one)]
    pub max_plans: usize,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=50) => Ok(number),
        Ok(_) => Err("from 1 to 50".to_owned()),
        Err(err) => Err(format!("no number: {err}")),
    }
}

/// Why an executor could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The bus.
    #[error("failed to reach the bus: {0}")]
    Bus(#[from] BusError),
    /// The API server.
    #[error(transparent)]
    Kube(#[from] KubeClientError),
    /// The health server.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The metrics.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The long work: its keys.
    #[error("failed to prepare long work: {0}")]
    LongWork(String),
}

impl Classify for RunError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Bus(err) => err.class(),
            Self::Kube(err) => err.class(),
            Self::Serve(err) => err.class(),
            Self::Metrics(err) => err.class(),
            Self::LongWork(_) => ErrorClass::Invalid,
        }
    }
}

/// Runs an executor until `shutdown`.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<(), RunError> {
    let client = kube_client::unlimited_client(&args.common).await?;
    let bus = JetStreamBus::connect(&args.common, Role::Executor).await?;
    run_with(args, client, bus, Arc::new(Postgres), shutdown).await
}

/// The same with a client, a bus and databases that are there already.
pub async fn run_with(
    args: Args,
    client: kube::Client,
    bus: SharedBus,
    database: Arc<dyn Database>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let registry = Metrics::new("executor");
    let metrics = ExecutorMetrics::new(&registry)?;
    let health = Health::new();
    let guardian = Guardian::new(Rules::API);
    let rights = Rights::told_by(health.check("rights"), client.clone());
    let api = Api::new(client, Limits::new(), guardian.clone(), metrics.clone()).telling(rights);
    let work = LongWork::new(LongWorkOptions {
        api: api.clone(),
        database,
        digest_key_files: args.digest_key_files,
    });
    let work = Arc::new(work.map_err(|err| RunError::LongWork(err.to_string()))?);
    // The health server outlives the shutdown, as long as plans are under way.
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    health::serve(args.common.listen, health.clone(), registry, ended).await?;
    let shared = Arc::new(Shared {
        api,
        guardian,
        bus,
        cluster: args.common.cluster,
        instance: args.common.instance,
        work: work.clone(),
        metrics,
    });
    tracing::info!(max_plans = args.max_plans, "executor takes plans");
    worker::work(shared, args.max_plans, &health, &shutdown).await;
    work.drain().await;
    tracing::info!("executor ended");
    Ok(())
}
