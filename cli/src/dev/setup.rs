//! Starting the local control plane with everything that the parts rest on.
//!
//! Decides what has to be there before a part starts.

use std::path::PathBuf;
use std::sync::Arc;

use signalbox_common::bus::ensure;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::kinds::Kind;
use signalbox_common::rights::{Component, rbac_yaml};
use signalbox_devcluster::{ClusterOptions, DevCluster, Identity, NatsOptions, ProgressSink};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::example;
use super::keys::{self, Keys};
use super::parts::{Parts, Place};
use super::voice::Voice;
use crate::cmd::bus::EVERY;
use crate::connect::{BusArgs, KubeArgs};
use crate::error::CliError;
use crate::live::Target;

/// A started setup.
pub(super) struct Setup {
    /// The parts.
    pub(super) parts: Parts,
    /// What they run on.
    pub(super) world: World,
    /// Keeps the streams there.
    pub(super) keeper: JoinHandle<()>,
}

/// Servers and how to reach them.
pub(super) struct World {
    /// The local control plane.
    pub(super) cluster: DevCluster,
    /// The example app, seen as admin.
    pub(super) target: Target,
    /// Servers of the bus.
    pub(super) nats_url: String,
    /// Folder of the nkey seeds.
    pub(super) keys: PathBuf,
    /// URL of the example's database.
    pub(super) database: String,
}

impl Setup {
    /// Starts everything but the example.
    pub(super) async fn start(root: Option<PathBuf>, voice: &Voice) -> Result<Self, CliError> {
        voice.chapter("starting a local control plane (servers are built once, in minutes; then it takes seconds)");
        let keys = Keys::create()?;
        let cluster = DevCluster::start_with(options(root, &keys), &progress(voice)).await?;
        voice.good("etcd, kube-apiserver, controllers, scheduler, kwok, NATS and PostgreSQL run");
        let folder = cluster.dir().join("keys");
        keys.write(&folder)?;
        log_to(&log(&cluster))?;
        definitions(&cluster).await?;
        voice.good("kinds, service accounts and rights are applied");
        let world = World::of(cluster, folder).await?;
        let keeper = keep_bus(&world.bus(&Role::Ensure)).await?;
        voice.good("streams are made: 50 messages each, one for each object");
        let parts = Parts::start(&Place {
            cluster: &world.cluster,
            nats_url: &world.nats_url,
            keys: &world.keys,
        })?;
        voice.good("watcher, planner and executor run, each as itself");
        Ok(Self {
            parts,
            world,
            keeper,
        })
    }
}

impl World {
    async fn of(cluster: DevCluster, keys: PathBuf) -> Result<Self, CliError> {
        let database = cluster.create_database("shop").await?;
        let nats_url = cluster.nats_url().unwrap_or_default();
        let kube = KubeArgs {
            kubeconfig: Some(cluster.kubeconfig("admin")?),
            namespace: Some(example::NAMESPACE.to_owned()),
            ..KubeArgs::default()
        };
        let target = Target {
            cluster: kube.connect().await?,
            kind: Kind::PortfolioApp,
            name: example::APP.to_owned(),
        };
        Ok(Self {
            cluster,
            target,
            nats_url,
            keys,
            database,
        })
    }

    /// The bus, seen by a role.
    pub(super) fn bus(&self, role: &Role) -> BusArgs {
        BusArgs {
            nats_url: self.nats_url.clone(),
            nkey_file: Some(keys::file(&self.keys, role)),
            cluster: "default".to_owned(),
        }
    }

    /// The last warnings and errors of the parts, for when something is wrong.
    pub(super) fn complaints(&self) -> Vec<String> {
        let text = std::fs::read_to_string(log(&self.cluster)).unwrap_or_default();
        let is_complaint = |line: &&str| {
            line.contains("\"level\":\"WARN\"") || line.contains("\"level\":\"ERROR\"")
        };
        let mut last: Vec<String> = text
            .lines()
            .rev()
            .filter(is_complaint)
            .take(12)
            .map(str::to_owned)
            .collect();
        last.reverse();
        last
    }

    /// What to type in another terminal.
    pub(super) fn hints(&self) -> Result<Vec<String>, CliError> {
        let (namespace, app) = (example::NAMESPACE, example::APP);
        Ok(vec![
            String::new(),
            format!(
                "  export KUBECONFIG={}",
                self.cluster.kubeconfig("admin")?.display()
            ),
            format!("  export SIGNALBOX_NATS_URL={}", self.nats_url),
            format!(
                "  export SIGNALBOX_NKEY_FILE={}",
                keys::file(&self.keys, &Role::Reader).display()
            ),
            format!("  signalbox get {app} -n {namespace} --watch"),
            format!("  signalbox timeline {app} -n {namespace}"),
            "  signalbox replay".to_owned(),
            format!("  logs of the parts: {}", log(&self.cluster).display()),
            "  Ctrl-C here stops everything".to_owned(),
            String::new(),
        ])
    }
}

/// Makes the streams, and then looks after them until the task is aborted.
async fn keep_bus(bus: &BusArgs) -> Result<JoinHandle<()>, CliError> {
    let bus = JetStreamBus::with_args(&bus.common(), &Role::Ensure).await?;
    let args = ensure::EnsureArgs::default();
    ensure::ensure(&bus, &args).await?;
    Ok(tokio::spawn(async move {
        ensure::keep(&bus, &args, EVERY, CancellationToken::new()).await;
    }))
}

fn options(root: Option<PathBuf>, keys: &Keys) -> ClusterOptions {
    let identities = Component::ALL
        .into_iter()
        .map(|component| {
            Identity::service_account(
                signalbox_crds::names::OPERATOR_NAMESPACE,
                component.account(),
            )
        })
        .collect();
    ClusterOptions {
        audit: false,
        root,
        nats: Some(NatsOptions {
            config: keys.server_config(),
        }),
        identities,
        ..ClusterOptions::full("dev")
    }
}

fn progress(voice: &Voice) -> ProgressSink {
    let voice = voice.clone();
    Arc::new(move |step| voice.tell(&step.to_string()))
}

/// Kinds and rights; the kinds are served when this returns.
async fn definitions(cluster: &DevCluster) -> Result<(), CliError> {
    let crds = signalbox_crds::yaml().map_err(|error| CliError::Document {
        what: "the definitions of the kinds",
        reason: error.to_string(),
    })?;
    cluster.apply(&crds).await?;
    cluster.apply(&rbac_yaml()).await?;
    let names = Kind::ALL.map(|kind| format!("crd/{}.{}", kind.plural(), signalbox_crds::GROUP));
    let mut wait = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    wait.extend(names.iter().map(String::as_str));
    cluster.kubectl(&wait).await?;
    Ok(())
}

/// The log of the parts.
fn log(cluster: &DevCluster) -> PathBuf {
    cluster.dir().join("logs").join("signalbox.log")
}

/// Logs of the parts go to a file: the terminal is for what happens.
fn log_to(path: &std::path::Path) -> Result<(), CliError> {
    use tracing_subscriber::EnvFilter;
    let file = std::fs::File::create(path).map_err(CliError::file("write", path))?;
    let filter =
        std::env::var(signalbox_common::telemetry::FILTER).unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| CliError::Usage(format!("SIGNALBOX_LOG={filter}: {error}")))?;
    // A second setup in one process (tests) logs where the first one does.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(Arc::new(file))
        .try_init();
    Ok(())
}
