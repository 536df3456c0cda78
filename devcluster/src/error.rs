//! Everything that can go wrong between "start" and "ready", each with what to do about it.
//!
//! Never carries a bare string without the act that failed; server logs are quoted, not parsed.

use std::path::PathBuf;

use crate::servers::{Server, Tool};

/// Why the local control plane could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevClusterError {
    /// A file or folder of the cluster or of the server cache could not be used.
    #[error("failed to use {}: check its permissions and the free space", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A program could not be started at all.
    #[error("failed to run `{program}`: check that it is installed and executable")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A server did not do what it was asked.
    #[error("failed to have {server} do what it was asked; it said: {answer}")]
    NoAnswer {
        /// The server.
        server: Server,
        /// What it answered, if anything.
        answer: String,
    },
    /// There is neither a fitting server on the machine nor a Go toolchain to build one.
    #[error(
        "failed to find {tool} and no `go` to build it: install Go 1.26 or later, or set \
         KUBEBUILDER_ASSETS to a folder with the servers"
    )]
    GoMissing {
        /// The server that was wanted.
        tool: Tool,
    },
    /// `go build` failed.
    #[error("failed to build {tool} with `go build`:\n{output}")]
    Build {
        /// The server that was built.
        tool: Tool,
        /// What the compiler said.
        output: String,
    },
    /// The home folder is unknown, so there is no place for built servers.
    #[error("failed to choose a cache folder: set SIGNALBOX_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// PostgreSQL is not installed and cannot be installed from here.
    #[error(
        "failed to find PostgreSQL on PATH and under /usr/lib/postgresql: install the package \
         `postgresql` (initdb, postgres, createdb and pg_isready are needed)"
    )]
    PostgresMissing,
    /// `apt-get install postgresql` failed.
    #[error("failed to install PostgreSQL, please install it by hand:\n{output}")]
    PostgresInstall {
        /// What apt-get said.
        output: String,
    },
    /// There is no libfaketime.
    #[error("failed to find libfaketime: install the package `libfaketime`")]
    FaketimeMissing,
    /// `apt-get install libfaketime` failed.
    #[error("failed to install libfaketime, please install it by hand:\n{output}")]
    FaketimeInstall {
        /// What apt-get said.
        output: String,
    },
    /// A PostgreSQL tool failed.
    #[error("failed to run `{tool}` of PostgreSQL:\n{output}")]
    PostgresTool {
        /// `initdb` or `createdb`.
        tool: &'static str,
        /// What it said.
        output: String,
    },
    /// PostgreSQL refuses to run as root, and no other user was found.
    #[error("failed to find a user `postgres` or `nobody` to run PostgreSQL as: add one")]
    NoPostgresUser,
    /// No free port was found.
    #[error("failed to find a free port on 127.0.0.1")]
    NoPort,
    /// Keys or certificates could not be made.
    #[error("failed to make the certificates of the control plane")]
    Certificate(#[from] rcgen::Error),
    /// A server ended by itself while it was starting.
    #[error("failed to start {server}: it ended by itself; the end of {}:\n{tail}", log.display())]
    Died {
        /// The server.
        server: Server,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A server runs but did not become ready in time.
    #[error(
        "failed to see {server} ready within {seconds} s; the end of {}:\n{tail}", log.display()
    )]
    NotReady {
        /// The server.
        server: Server,
        /// How long it was waited for.
        seconds: u64,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The control plane did not bring up its first objects in time.
    #[error("failed to see {what} within {seconds} s: read the logs in {}", logs.display())]
    NotSettled {
        /// The objects waited for.
        what: &'static str,
        /// How long they were waited for.
        seconds: u64,
        /// The folder with the logs of all servers.
        logs: PathBuf,
    },
    /// kubectl said no.
    #[error("failed to run `kubectl {arguments}`:\n{output}")]
    Kubectl {
        /// The arguments.
        arguments: String,
        /// What it said.
        output: String,
    },
    /// A server that was not asked for in the options.
    #[error("failed to find {server} in this cluster: ask for it in `ClusterOptions`")]
    NotInCluster {
        /// The server.
        server: Server,
    },
    /// An identity that was not asked for in the options.
    #[error("failed to find the identity `{user}`: list it in `ClusterOptions::identities`")]
    UnknownIdentity {
        /// The user name.
        user: String,
    },
    /// A running server could not be stopped.
    #[error("failed to signal {server}")]
    Signal {
        /// The server.
        server: Server,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}
