//! A program that runs beside the servers, such as a part of an operator under test.
//!
//! Decides that it ends with the process that started it; never restarts it and never reads its log.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::cluster::DevCluster;
use crate::command_line::CommandLine;
use crate::error::DevClusterError;
use crate::process::Process;
use crate::stillness;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Companion {
    process: Process,
}

impl DevCluster {
    /// Starts `program` in this cluster's folder, with both outputs in `logs/<name>.log`.
    pub fn start_beside(
        &self,
        name: &str,
        program: &Path,
        arguments: &[OsString],
        environment: Vec<(&'static str, OsString)>,
    ) -> Result<Companion, DevClusterError> {
        let mut line = CommandLine::new(program, self.dir());
        line.arguments = arguments.to_vec();
        line.environment = environment;
        let log = self.dir().join("logs").join(format!("{name}.log"));
        Ok(Companion {
            process: Process::start(line, &log)?,
        })
    }
}

impl Companion {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.process.log().to_owned()
    }

    /// Resident memory in bytes, where `/proc` tells it.
    #[must_use]
    pub fn resident_bytes(&self) -> Option<u64> {
        self.process.resident_bytes()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) -> std::io::Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait_or_kill().await
    }

    /// SIGTERM, and waits until it has ended; killed after ten seconds.
    pub async fn terminate(&mut self) -> std::io::Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait_or_kill().await
    }

    /// SIGSTOP: it holds still, with everything that it holds.
    pub fn pause(&mut self) -> std::io::Result<()> {
        self.process.signal(Signal::STOP)?;
        stillness::until_still(self.process.pid())
    }

    /// SIGCONT.
    pub fn resume(&mut self) -> std::io::Result<()> {
        self.process.signal(Signal::CONT)
    }
}
