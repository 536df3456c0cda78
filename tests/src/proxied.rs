//! Parts behind a proxy of their own: what they do can be read, and faults can be made by plan.

use std::ffi::OsString;
use std::path::PathBuf;

use kube::config::Kubeconfig;
use signalbox_proxy::{Proxy, Servers};

use crate::objects::Objects;
use crate::parts::{Part, PartProcess};
use crate::world::{World, client_with};

/// A part whose every connection leads through its proxy.
pub struct ProxiedPart {
    /// Which part.
    pub part: Part,
    /// Its proxy; it stays when the process is replaced.
    pub proxy: Proxy,
    kubeconfig: PathBuf,
    arguments: Vec<String>,
    process: Option<PartProcess>,
    starts: usize,
    /// The name that the process goes by.
    name: String,
}

impl ProxiedPart {
    /// Begins the proxy, not the part. `nats_url` and `namespace` as in [`Servers`].
    pub async fn new(
        world: &World,
        part: Part,
        nats_url: String,
        namespace: Option<String>,
        arguments: &[&str],
    ) -> Self {
        let original = world
            .cluster
            .kubeconfig(&part.user())
            .expect("the part has an identity");
        let original = Kubeconfig::read_from(original).expect("a kubeconfig");
        let cluster = original.clusters.first().and_then(|c| c.cluster.as_ref());
        let ca = cluster
            .and_then(|c| c.certificate_authority.clone())
            .expect("the server is trusted by a file");
        let postgres = world.cluster.postgres_url().and_then(|url| {
            let (_, rest) = url.split_once('@')?;
            Some(rest.split('/').next()?.to_owned())
        });
        let proxy = Proxy::start(Servers {
            api_url: world.cluster.api_url(),
            api_ca: ca.into(),
            nats_url,
            postgres,
            namespace,
        })
        .await
        .expect("the proxy listens");
        let token = world
            .cluster
            .token(&part.user())
            .expect("the part has a token");
        let kubeconfig = world.cluster.dir().join(format!(
            "identities/proxied-{}",
            proxy.api_url().replace([':', '/'], "-")
        ));
        proxy
            .kubeconfig(&kubeconfig, &token)
            .expect("a kubeconfig can be written");
        Self {
            part,
            proxy,
            kubeconfig,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
            starts: 0,
            name: String::new(),
        }
    }

    /// Starts the part, or another process of it when the former died: in turn under the former's name,
    /// as a container that is started again, and under another, as a new pod.
    pub fn start(&mut self, world: &World) -> &mut PartProcess {
        // The former is waited for first.
        self.process = None;
        if self.starts.is_multiple_of(2) {
            let url = self.proxy.api_url();
            let (_, port) = url.rsplit_once(':').expect("a URL with a port");
            self.name = format!("{}-{port}-{}", self.part.name(), self.starts);
        }
        self.starts += 1;
        let environment: Vec<(&'static str, OsString)> = vec![
            ("SIGNALBOX_INSTANCE", self.name.clone().into()),
            ("KUBECONFIG", self.kubeconfig.clone().into()),
            ("SIGNALBOX_NATS_URL", self.proxy.nats_url().into()),
        ];
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let process = world.part_with(self.part, &arguments, environment);
        self.proxy.director.attach(process.pid());
        self.process.insert(process)
    }

    /// Objects of a namespace as the part reaches them, with its rights; each request is sent once.
    pub async fn objects(&self, namespace: &str) -> Objects {
        let client = client_with(&self.kubeconfig, |config| config.default_retry = false);
        Objects::new(client.await, namespace)
    }

    /// The running process.
    ///
    /// # Panics
    /// If it was never started.
    pub fn process(&mut self) -> &mut PartProcess {
        self.process.as_mut().expect("the part was started")
    }

    /// The URL of a database, leading through the proxy.
    #[must_use]
    pub fn through(&self, url: &str) -> String {
        let proxy = self.proxy.postgres().expect("the world has a database");
        let (user, rest) = url.split_once('@').expect("a URL with a user");
        let (_, database) = rest.split_once('/').expect("a URL with a database");
        format!("{user}@{proxy}/{database}")
    }
}
