//! The command of one server before it is started: program, arguments, user, end.
//!
//! Decides how a server is tied to this process: its own process group, and, where `setpriv` is
//! installed, a signal from the kernel when this process is gone, so that even a killed test leaves
//! nothing running. Without `setpriv` only an orderly end (or `Drop`) stops the servers.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::process::Signal;

/// A user to run a server as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunAs {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// How a server ends together with this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathSignal {
    /// At once.
    Kill,
    /// PostgreSQL's immediate shutdown; after a plain KILL its shared memory would stay.
    Quit,
}

impl DeathSignal {
    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Quit => "QUIT",
        }
    }

    /// The signal itself.
    pub(crate) const fn signal(self) -> Signal {
        match self {
            Self::Kill => Signal::KILL,
            Self::Quit => Signal::QUIT,
        }
    }
}

/// What is started.
#[derive(Debug)]
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
    pub(crate) folder: PathBuf,
    pub(crate) run_as: Option<RunAs>,
    /// Sent by the kernel when this process is gone.
    pub(crate) death_signal: DeathSignal,
}

impl CommandLine {
    /// A command that runs as the present user in `folder`.
    pub(crate) fn new(program: &Path, folder: &Path) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.to_owned(),
            run_as: None,
            death_signal: DeathSignal::Kill,
        }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// The command, tied to this process.
    pub(crate) fn command(self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if setpriv_exists() {
            words.extend(["setpriv", "--pdeathsig", self.death_signal.name()].map(OsString::from));
        }
        words.push(self.program.into());
        words.extend(self.arguments);
        let mut command = as_user(self.run_as, words);
        command
            .envs(self.environment)
            .current_dir(self.folder)
            .process_group(0);
        command
    }
}

/// `words` as a command, under another user if one is named.
///
/// The user is changed first: changing it clears the death signal.
pub(crate) fn as_user(user: Option<RunAs>, words: Vec<OsString>) -> Command {
    let mut all: Vec<OsString> = Vec::new();
    if let Some(RunAs { uid, gid }) = user {
        all.push("setpriv".into());
        all.push(format!("--reuid={uid}").into());
        all.push(format!("--regid={gid}").into());
        all.push("--clear-groups".into());
    }
    all.extend(words);
    let mut all = all.into_iter();
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).stdin(Stdio::null());
    command
}

/// Whether `program` is on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

fn setpriv_exists() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| on_path("setpriv").is_some())
}
