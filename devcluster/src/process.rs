//! Starts and ends one server process.
//!
//! Decides that an end is always waited for, and forced when it takes too long.
//! Never restarts anything by itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::command_line::{CommandLine, DeathSignal};
use crate::error::DevClusterError;
use crate::go_build::file_error;

const POLL: Duration = Duration::from_millis(20);
/// How long a server may take to end.
const GRACE: Duration = Duration::from_secs(10);
/// How many lines of a log an error quotes.
const TAIL_LINES: usize = 20;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    death_signal: DeathSignal,
    log: PathBuf,
    log_start: u64,
}

impl Process {
    /// Starts `line`, with both outputs appended to `log`.
    pub(crate) fn start(line: CommandLine, log: &Path) -> Result<Self, DevClusterError> {
        let program = line.program.display().to_string();
        let death_signal = line.death_signal;
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(file_error(log))?;
        let log_start = out.metadata().map_err(file_error(log))?.len();
        let err = out.try_clone().map_err(file_error(log))?;
        let mut command = line.command();
        command.stdout(out).stderr(err);
        let child = spawn(command).map_err(|source| DevClusterError::Run { program, source })?;
        Ok(Self {
            child,
            death_signal,
            log: log.to_owned(),
            log_start,
        })
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        // An error means that there is no such child any more.
        self.child
            .try_wait()
            .map_or(true, |status| status.is_some())
    }

    /// The log file.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines that this process wrote.
    pub(crate) fn log_tail(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_start))?;
            file.read_to_end(&mut bytes)
        });
        if let Err(error) = read {
            return format!("(log not readable: {error})");
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Resident memory in bytes, where `/proc` tells it.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1024)
    }

    /// Sends `signal` to the whole process group.
    pub(crate) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.has_ended() {
            return Ok(());
        }
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        match group.map(|group| kill_process_group(group, signal)) {
            Some(Err(error)) if error != rustix::io::Errno::SRCH => Err(error.into()),
            Some(_) | None => Ok(()),
        }
    }

    /// Waits for the end, and kills if that takes too long.
    pub(crate) async fn wait_or_kill(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        let mut killed = false;
        while !self.has_ended() {
            if !killed && begun.elapsed() > GRACE {
                self.signal(Signal::KILL)?;
                killed = true;
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Sends the signal that ends it without ceremony, without waiting.
    pub(crate) fn condemn(&mut self) {
        if let Err(error) = self.signal(self.death_signal.signal()) {
            tracing::warn!(pid = self.pid(), %error, "failed to end server");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.condemn();
        let begun = Instant::now();
        while !self.has_ended() && begun.elapsed() < GRACE {
            thread::sleep(POLL);
        }
        if !self.has_ended() {
            // If even this fails, waiting longer would not help.
            let _ = self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

type Request = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Spawns from one thread that lives as long as this process: the kernel sends the death signal
/// when the *thread* that spawned a child ends, and test and runtime threads end early.
fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // The asking side may be gone; then the child is dropped and still ends with us.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::sync_channel(1);
    if let Err(mpsc::SendError((returned, _))) = spawner.send((command, reply)) {
        command = returned;
        return command.spawn();
    }
    answer
        .recv()
        .map_err(|_| io::Error::other("the spawning thread is gone"))?
}
