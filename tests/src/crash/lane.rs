//! A lane: one of each part, behind proxies, with a bus and a namespace of their own in a shared world.
//!
//! A death in one lane does not touch the others, so many run side by side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use signalbox_common::bus::ensure::{EnsureArgs, Storage, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::config::CommonArgs;
use signalbox_common::rights::tenant_yaml;
use signalbox_devcluster::{Companion, Tool, free_port};
use signalbox_proxy::Masks;
use tokio::net::TcpStream;

use super::flow::Flow;
use super::record::Record;
use crate::bus::BusView;
use crate::objects::Objects;
use crate::parts::Part;
use crate::proxied::ProxiedPart;
use crate::wait::eventually;
use crate::world::World;

/// Ten servers may start at once.
const PATIENCE: Duration = Duration::from_mins(1);
const PARTS: [Part; 3] = [Part::Watcher, Part::Planner, Part::Executor];

/// A lane.
pub struct Lane<'w> {
    pub(super) world: &'w World,
    record: Arc<Record>,
    pub(super) bus: BusView,
    pub(super) parts: Vec<ProxiedPart>,
    /// Logs of all processes that ran here, and how much of each was looked at.
    pub(super) logs: Vec<(PathBuf, usize)>,
    objects: Objects,
    number: usize,
    runs: u32,
    _nats: Companion,
}

impl<'w> Lane<'w> {
    /// Starts the bus and the parts.
    pub async fn start(world: &'w World, number: usize) -> Self {
        let namespace = format!("lane-{number}");
        world
            .apply(&format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {namespace} }}\n"
            ))
            .await;
        world.apply(&tenant_yaml(&namespace, &["ledger-db"])).await;
        world.apply(&own_lease(&namespace)).await;
        let (nats, nats_url) = own_bus(world, number).await;
        let common = |role: &str| CommonArgs {
            nats_url: nats_url.clone(),
            ..world.common_args(role)
        };
        let ensuring = JetStreamBus::with_args(&common("ensure"), &Role::Ensure)
            .await
            .expect("the lane's bus is there");
        let arguments = EnsureArgs {
            storage: Storage::Memory,
            ..EnsureArgs::default()
        };
        ensure(&ensuring, &arguments)
            .await
            .expect("the streams are made");
        let objects = world.objects(&namespace).await;
        let mut lane = Self {
            world,
            record: Arc::new(Record::begin(&objects)),
            bus: BusView::connect(&common("reader")).await,
            parts: Vec::new(),
            logs: Vec::new(),
            objects,
            number,
            runs: 0,
            _nats: nats,
        };
        for part in PARTS {
            let arguments: &[&str] = match part {
                // Its Lease lies in the lane.
                Part::Watcher => &["--namespace", &namespace],
                Part::Planner | Part::Executor => &[],
            };
            let proxied = ProxiedPart::new(
                world,
                part,
                nats_url.clone(),
                Some(namespace.clone()),
                arguments,
            );
            lane.parts.push(proxied.await);
        }
        for index in 0..lane.parts.len() {
            lane.start_part(index);
        }
        lane
    }

    /// Starts a part, or another process of it.
    pub(super) fn start_part(&mut self, index: usize) {
        if let Some(part) = self.parts.get_mut(index) {
            let log = part.start(self.world).log_path();
            self.logs.push((log, 0));
        }
    }

    pub(super) fn part(&self, part: Part) -> &ProxiedPart {
        self.parts
            .iter()
            .find(|proxied| proxied.part == part)
            .expect("a lane has every part")
    }

    /// Another run, with names of its own.
    pub(super) fn run(&mut self, flow: Flow) -> Run<'w> {
        self.runs += 1;
        let url = self.world.cluster.postgres_url();
        let executor = self.part(Part::Executor);
        Run {
            world: self.world,
            record: self.record.clone(),
            objects: self.objects.clone(),
            name: format!("orders{:04}", self.runs),
            database: format!("lane{}x{:04}", self.number, self.runs),
            through: url.as_deref().map(|url| executor.through(url)),
            flow,
        }
    }
}

/// One run of a flow in a lane.
pub(super) struct Run<'w> {
    world: &'w World,
    record: Arc<Record>,
    objects: Objects,
    name: String,
    database: String,
    /// The database server as the parts reach it.
    through: Option<String>,
    pub(super) flow: Flow,
}

impl Run<'_> {
    pub(super) fn world(&self) -> &World {
        self.world
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(super) fn namespace(&self) -> &str {
        &self.objects.namespace
    }

    /// Name of the object.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Words for the names of this run.
    pub(super) fn masks(&self) -> Masks {
        Masks::none()
            .with_place(self.namespace(), "$ns")
            .with(&self.name, "$app")
            .with(&self.database, "$db")
            .with_revisions_of("$app")
            // Leases of steps.
            .with_ids("sb-", "$lease")
    }

    /// Creations and deletions so far.
    pub(super) fn changes(&self) -> Vec<(String, usize)> {
        self.record.of(&self.name)
    }

    /// Makes the database; its URL as the parts reach it.
    pub(super) async fn database_url(&self) -> String {
        self.world
            .cluster
            .create_database(&self.database)
            .await
            .expect("a database can be made");
        let through = self.through.as_deref().expect("the world has a database");
        let (server, _) = through.rsplit_once('/').expect("a URL with a database");
        format!("{server}/{}", self.database)
    }

    /// Its URL past the proxy, if the flow has one.
    pub(super) fn own_database(&self) -> Option<String> {
        if self.flow != Flow::Migrate {
            return None;
        }
        let url = self.world.cluster.postgres_url()?;
        let (server, _) = url.rsplit_once('/')?;
        Some(format!("{server}/{}", self.database))
    }
}

/// The watcher's right to its Lease, in the lane's own namespace.
fn own_lease(namespace: &str) -> String {
    format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: watcher-lease, namespace: {namespace} }}
rules: [{{ apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: watcher-lease, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: watcher-lease }}
subjects: [{{ kind: ServiceAccount, name: watcher, namespace: signalbox-system }}]
"
    )
}

/// A nats-server beside that of the world, with the same identities and without streams.
///
/// # Panics
/// If it does not start.
pub async fn own_bus(world: &World, number: usize) -> (Companion, String) {
    let port = free_port().expect("a free port");
    let folder = world.cluster.dir();
    let store = folder.join(format!("nats-lane-{number}"));
    let config = folder.join(format!("nats-lane-{number}.conf"));
    let text = format!(
        "server_name: \"lane-{number}\"\nlisten: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{}",
        store.display(),
        world.bus_rights
    );
    std::fs::write(&config, text).expect("a file");
    let program = world
        .cluster
        .tool_path(Tool::NatsServer)
        .expect("the world has a bus");
    let arguments = ["--config".into(), config.into_os_string()];
    let name = format!("nats-lane-{number}");
    let nats = world
        .cluster
        .start_beside(&name, program, &arguments, Vec::new())
        .expect("the lane's bus starts");
    eventually("the lane's bus listens", PATIENCE, || async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await;
        stream.map(drop).map_err(|error| error.to_string())
    })
    .await;
    (nats, format!("nats://127.0.0.1:{port}"))
}
