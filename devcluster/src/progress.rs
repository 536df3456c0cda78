//! What is told while servers are found and built, the one part that can take minutes.
//!
//! Never speaks when everything is cached: a start that takes seconds stays silent.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::servers::Tool;

/// One step of getting the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another process is building the same servers.
    Waiting {
        /// The server that is waited for.
        tool: Tool,
    },
    /// A build has begun; it happens once per pinned version.
    Building {
        /// The server.
        tool: Tool,
    },
    /// A build is over.
    Built {
        /// The server.
        tool: Tool,
        /// How long it took.
        took: Duration,
    },
    /// PostgreSQL is being installed with apt-get.
    InstallingPostgres,
    /// libfaketime is being installed with apt-get.
    InstallingFaketime,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waiting { tool } => write!(f, "{tool}: waiting for another build"),
            Self::Building { tool } => write!(f, "{tool}: building, once per version"),
            Self::Built { tool, took } => write!(f, "{tool}: built in {} s", took.as_secs()),
            Self::InstallingPostgres => write!(f, "PostgreSQL: installing with apt-get"),
            Self::InstallingFaketime => write!(f, "libfaketime: installing with apt-get"),
        }
    }
}

/// Where progress goes.
pub type ProgressSink = Arc<dyn Fn(&Progress) + Send + Sync>;

/// A sink that writes one line per step to stderr, and the same as a tracing event.
#[must_use]
pub fn to_stderr() -> ProgressSink {
    Arc::new(|step| {
        tracing::info!(%step, "local control plane");
        // A closed stderr must not stop the build.
        let _ = writeln!(std::io::stderr(), "signalbox-devcluster: {step}");
    })
}
