//! A world: servers, kinds, rights, streams and identities as in production; parts are started by the test.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use signalbox_common::bus::rights::{self, Role};
use signalbox_common::bus::signature::new_keys;
use signalbox_common::config::CommonArgs;
use signalbox_common::rights::{Component, rbac_yaml, tenant_yaml};
use signalbox_devcluster::{ClusterOptions, DevCluster, Identity, NatsOptions};

use crate::audit::Audit;
use crate::bus::BusView;
use crate::bus_access::with_admin;
use crate::fixtures::app;
use crate::objects::Objects;
use crate::parts::{Part, PartProcess, program};
use crate::wait::eventually;

/// Account of an operator that is no part; it has the rights that a test grants it.
const GUEST: &str = "guest";

/// Its user at the API server.
#[must_use]
pub fn guest() -> String {
    format!("system:serviceaccount:signalbox-system:{GUEST}")
}

/// What a world has beside etcd, API server and NATS.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorldOptions {
    /// Controller manager, scheduler and kwok: pods become ready.
    pub controllers: bool,
    /// PostgreSQL.
    pub postgres: bool,
}

impl WorldOptions {
    /// etcd, API server and NATS only.
    pub const BARE: Self = Self {
        controllers: false,
        postgres: false,
    };
    /// Pods become ready.
    pub const PODS: Self = Self {
        controllers: true,
        postgres: false,
    };
    /// Pods become ready, and there is PostgreSQL.
    pub const PODS_AND_DATABASES: Self = Self {
        controllers: true,
        postgres: true,
    };
}

/// A running world.
pub struct World {
    /// The servers.
    pub cluster: DevCluster,
    /// Seeds on disk, by role.
    seeds: BTreeMap<&'static str, PathBuf>,
    /// Seeds that messages are signed with, by role.
    signing: BTreeMap<&'static str, PathBuf>,
    /// The public keys of those.
    trusted: PathBuf,
    /// Who may do what on the bus.
    pub(crate) bus_rights: String,
    /// Seed of who may do everything on the bus, as nobody may in production.
    pub(crate) bus_admin: String,
    digest_key: PathBuf,
    namespaces: AtomicUsize,
    started: AtomicUsize,
}

impl World {
    /// Starts the servers and makes kinds, rights and streams.
    ///
    /// # Panics
    /// If a server does not start.
    pub async fn start(name: &str, options: WorldOptions) -> Self {
        let roles = Role::OWN.into_iter().chain([Role::Trigger {
            tenant: "ci".to_owned(),
        }]);
        let (seeds, users): (Vec<_>, Vec<_>) = roles
            .map(|role| {
                let (seed, public) = rights::new_identity().expect("randomness");
                ((role.label(), seed), (role, public))
            })
            .unzip();
        let (bus_admin, public) = rights::new_identity().expect("randomness");
        let bus_rights = with_admin(&rights::server_config(&users), &public);
        let bare = ClusterOptions::bare(name);
        let identities = Component::ALL
            .into_iter()
            .map(|c| Identity::service_account("signalbox-system", c.account()))
            .chain([Identity::service_account("signalbox-system", GUEST)])
            .collect();
        let cluster = DevCluster::start(ClusterOptions {
            controllers: options.controllers,
            postgres: options.postgres,
            nats: Some(NatsOptions {
                config: bus_rights.clone(),
            }),
            identities,
            audit: true,
            ..bare
        })
        .await
        .expect("the servers start");
        let folder = cluster.dir().join("identities");
        std::fs::create_dir_all(&folder).expect("a folder");
        let seeds = seeds
            .into_iter()
            .map(|(role, seed)| (role, keep(&folder, role, &seed)))
            .collect();
        let (signing, trusted) = signing_keys(&folder);
        let digest_key = keep(&folder, "digest.key", "0123456789abcdef0123456789abcdef");
        let world = Self {
            cluster,
            seeds,
            signing,
            trusted,
            bus_rights,
            bus_admin,
            digest_key,
            namespaces: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
        };
        world.prepare().await;
        world
    }

    async fn prepare(&self) {
        let kinds = signalbox_crds::yaml().expect("the definitions are YAML");
        self.cluster
            .apply(&kinds)
            .await
            .expect("the kinds are accepted");
        self.cluster
            .apply(&rbac_yaml())
            .await
            .expect("the rights are accepted");
        eventually("the kinds are served", Duration::from_secs(20), || async {
            self.cluster
                .kubectl(&["get", "papp,dbm", "-A"])
                .await
                .map(drop)
        })
        .await;
        self.ensure_bus().await;
    }

    /// The arguments of a part or tool with the identity of `role`.
    #[must_use]
    pub fn common_args(&self, role: &str) -> CommonArgs {
        CommonArgs {
            nats_url: self.cluster.nats_url().expect("the world has a bus"),
            nkey_file: Some(self.seed(role)),
            signing_key_file: self.signing.get(role).cloned(),
            trusted_keys_file: Some(self.trusted.clone()),
            cluster: "suite".to_owned(),
            instance: format!("suite-{role}"),
            ..CommonArgs::default()
        }
    }

    /// File with the seed of a role.
    #[must_use]
    pub fn seed(&self, role: &str) -> PathBuf {
        self.seeds
            .get(role)
            .expect("every role has an identity")
            .clone()
    }

    /// File with the seed that a part signs with.
    ///
    /// # Panics
    /// Never: every part has one.
    #[must_use]
    pub fn signing_key(&self, part: Part) -> PathBuf {
        let file = self.signing.get(part.name());
        file.expect("every part signs").clone()
    }

    /// Starts a part.
    #[must_use]
    pub fn part(&self, part: Part) -> PartProcess {
        self.part_with(part, &[], Vec::new())
    }

    /// Starts a part with more arguments and environment.
    #[must_use]
    pub fn part_with(
        &self,
        part: Part,
        arguments: &[&str],
        environment: Vec<(&'static str, OsString)>,
    ) -> PartProcess {
        let keys = [
            ("SIGNALBOX_SIGNING_KEY_FILE", self.signing_key(part)),
            ("SIGNALBOX_TRUSTED_KEYS_FILE", self.trusted.clone()),
        ];
        let keys = keys.map(|(name, path)| (name, path.into_os_string()));
        let environment = keys.into_iter().chain(environment).collect();
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let instance = format!("{}-{number}", part.name());
        let mut all: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        if part == Part::Executor {
            all.extend([
                "--digest-key-file".into(),
                self.digest_key.clone().into_os_string(),
            ]);
        }
        PartProcess::start(
            &self.cluster,
            part,
            &instance,
            &self.seed(part.name()),
            &all,
            environment,
        )
    }

    /// One of each part.
    #[must_use]
    pub fn parts(&self) -> Vec<PartProcess> {
        [Part::Watcher, Part::Planner, Part::Executor]
            .map(|part| self.part(part))
            .into()
    }

    /// A namespace of its own, whose Secrets named `secrets` the executor may read.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn namespace(&self, secrets: &[&str]) -> Objects {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("team-{number}");
        let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n");
        self.cluster.apply(&namespace).await.expect("a namespace");
        if !secrets.is_empty() {
            self.cluster
                .apply(&tenant_yaml(&name, secrets))
                .await
                .expect("tenant rights");
        }
        self.objects(&name).await
    }

    /// Objects of a namespace, as admin, through a client of its own: connections belong to the runtime
    /// of the test that opened them.
    ///
    /// # Panics
    /// If the kubeconfig is not usable.
    pub async fn objects(&self, namespace: &str) -> Objects {
        let kubeconfig = self.cluster.kubeconfig("admin").expect("there is an admin");
        Objects::new(client(&kubeconfig).await, namespace)
    }

    /// The API server's record of writes.
    ///
    /// # Panics
    /// If the world has none.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::new(
            &self
                .cluster
                .audit_log()
                .expect("every world has an audit log"),
        )
    }

    /// The bus as an onlooker with read rights sees it.
    pub async fn bus(&self) -> BusView {
        BusView::connect(&self.common_args("reader")).await
    }

    /// Runs the command line as an SRE would, with read rights on the bus; returns exit code and output.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn signalbox(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.program("signalbox", arguments).await
    }

    /// Runs the command line with the reader's own rights at the API server too.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn signalbox_as_reader(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let reader = self.cluster.kubeconfig(&Component::Reader.user());
        let reader = reader.expect("the reader has an identity");
        let kubeconfig = reader.to_string_lossy();
        let own = ["--kubeconfig", &kubeconfig];
        self.program("signalbox", &[arguments, &own].concat()).await
    }

    /// Runs a program of the workspace as [`Self::signalbox`] does.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn program(&self, name: &str, arguments: &[&str]) -> (Option<i32>, String) {
        self.program_with(name, arguments, &[]).await
    }

    /// The same with more environment.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn program_with(
        &self,
        name: &str,
        arguments: &[&str],
        environment: &[(&'static str, OsString)],
    ) -> (Option<i32>, String) {
        let common = self.common_args("reader");
        let output = tokio::process::Command::new(program(name))
            .args(arguments)
            .env("SIGNALBOX_NATS_URL", &common.nats_url)
            .env("SIGNALBOX_NKEY_FILE", self.seed("reader"))
            .env("SIGNALBOX_CLUSTER", &common.cluster)
            .env(
                "KUBECONFIG",
                self.cluster.kubeconfig("admin").expect("there is an admin"),
            )
            .envs(environment.iter().cloned())
            .output()
            .await
            .expect("the command line starts");
        let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
        (output.status.code(), text.concat())
    }

    /// The app `orders` with these lines in its spec, once it is Ready.
    pub async fn ready_app(&self, objects: &Objects, lines: &str) -> Value {
        let document = app(&objects.namespace, "orders", "example/orders:1", lines);
        self.apply(&document).await;
        objects.becomes_ready("orders").await
    }

    /// Applies documents as admin.
    ///
    /// # Panics
    /// If they are refused.
    pub async fn apply(&self, documents: &str) {
        self.cluster
            .apply(documents)
            .await
            .expect("the documents are accepted");
    }
}

/// A key to sign with for each part, and the list of those that are trusted.
fn signing_keys(folder: &Path) -> (BTreeMap<&'static str, PathBuf>, PathBuf) {
    let keys = new_keys().expect("randomness");
    let seeds = keys.seeds.iter().map(|(role, seed)| {
        let role = role.label();
        (role, keep(folder, &format!("{role}.sign"), seed))
    });
    (seeds.collect(), keep(folder, "trusted.keys", &keys.trusted))
}

fn keep(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

async fn client(kubeconfig: &Path) -> Client {
    client_with(kubeconfig, |_| {}).await
}

/// A client with a kubeconfig, set up as `change` says.
///
/// # Panics
/// If the kubeconfig can't be used.
pub async fn client_with(kubeconfig: &Path, change: fn(&mut kube::Config)) -> Client {
    let config = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .expect("a usable kubeconfig");
    change(&mut config);
    Client::try_from(config).expect("a client")
}
