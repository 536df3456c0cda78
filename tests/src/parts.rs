//! The parts as processes: built once, started with an identity of their own, killed when asked.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use signalbox_devcluster::{Companion, DevCluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wait::eventually;

/// A part of Signalbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Watches and sends Events.
    Watcher,
    /// Plans.
    Planner,
    /// Writes.
    Executor,
}

impl Part {
    /// Name of the part, its service account and its identity on the bus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Watcher => "watcher",
            Self::Planner => "planner",
            Self::Executor => "executor",
        }
    }

    /// Its user at the API server.
    #[must_use]
    pub fn user(self) -> String {
        format!("system:serviceaccount:signalbox-system:{}", self.name())
    }
}

/// A running part; dropped, it is killed.
pub struct PartProcess {
    /// Which part.
    pub part: Part,
    /// Name of the instance, as in its Outcomes and claims.
    pub instance: String,
    process: Companion,
}

impl PartProcess {
    /// Starts a part with its own kubeconfig and NATS identity.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn start(
        cluster: &DevCluster,
        part: Part,
        instance: &str,
        nkey: &Path,
        arguments: &[OsString],
        extra: Vec<(&'static str, OsString)>,
    ) -> Self {
        let kubeconfig = cluster
            .kubeconfig(&part.user())
            .expect("the part has an identity");
        let nats = cluster.nats_url().expect("the world has a bus");
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("KUBECONFIG", kubeconfig.into()),
            ("SIGNALBOX_NATS_URL", nats.into()),
            ("SIGNALBOX_NKEY_FILE", nkey.into()),
            ("SIGNALBOX_CLUSTER", "suite".into()),
            ("SIGNALBOX_INSTANCE", instance.into()),
            ("SIGNALBOX_LISTEN", "127.0.0.1:0".into()),
        ];
        environment.extend(extra);
        let process = cluster
            .start_beside(instance, &binary(part), arguments, environment)
            .expect("the part starts");
        Self {
            part,
            instance: instance.to_owned(),
            process,
        }
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// If the signal can't be sent.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("a child can be killed");
    }

    /// SIGTERM, and waits for the orderly end.
    ///
    /// # Panics
    /// If the signal can't be sent.
    pub async fn terminate(&mut self) {
        self.process
            .terminate()
            .await
            .expect("a child can be ended");
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.process.pause().expect("a child can be paused");
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume().expect("a child can be resumed");
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// File of its log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.process.log()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.process.log()).unwrap_or_default()
    }

    /// What it answers on `path` of its health server: the status and the text.
    ///
    /// # Panics
    /// If the health server does not answer within ten seconds: it outlives every dependency.
    pub async fn answer(&self, path: &str) -> (u16, String) {
        let limit = Duration::from_secs(10);
        let address = eventually("the health server is up", limit, || async {
            listening(&self.log()).ok_or("no line of it in the log")
        })
        .await;
        let asked = tokio::time::timeout(limit, ask(address, path)).await;
        asked
            .expect("an answer in time")
            .expect("a health server that answers")
    }

    /// Resident memory in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        self.process.resident_bytes().unwrap_or(0) / 1024
    }

    /// The value of a metric, `name{labels}` as /metrics has it; none: it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.answer("/metrics").await;
        let mut lines = text.lines();
        let told = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        told.parse().ok()
    }

    /// Resident memory in MiB.
    #[must_use]
    pub fn resident_mib(&self) -> u64 {
        self.process.resident_bytes().unwrap_or(0) / (1024 * 1024)
    }
}

/// The address that a part told in its log.
fn listening(log: &str) -> Option<SocketAddr> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut told = lines.filter(|line: &Value| line["message"] == "serving health and metrics");
    told.next()?["address"].as_str()?.parse().ok()
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: part\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.ok_or_else(|| std::io::Error::other(format!("no answer: {head}")))?;
    Ok((code, body.to_owned()))
}

/// The binary of a part, built by the same cargo and profile as the suite.
fn binary(part: Part) -> PathBuf {
    folder().join(format!("signalbox-{}", part.name()))
}

/// A program of the workspace, built like the parts.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    folder().join(name)
}

/// The folder of the binaries, built once.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let own = std::env::current_exe().expect("a suite has a path");
        // A suite stands in target/<profile>/deps, a program in target/<profile>.
        let folder = own
            .ancestors()
            .skip(1)
            .find(|folder| !folder.ends_with("deps"))
            .expect("target/<profile>")
            .to_owned();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let target = folder.parent().expect("target/<profile>").to_owned();
        let release = folder.ends_with("release").then_some("--release");
        let mut build = Command::new(cargo);
        // What `cargo test` tells a suite of itself is no input of this build: dependencies that look at it
        // would be built anew each time.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                build.env_remove(name);
            }
        }
        let status = build
            .args(["build", "--quiet", "--workspace", "--bins"])
            .args(release)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CARGO_TARGET_DIR", target)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the parts don't build");
        folder
    })
}
