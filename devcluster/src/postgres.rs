//! Finds or installs PostgreSQL, makes its data folder and its databases.
//!
//! Decides the version (the newest one) and the user it runs as: PostgreSQL refuses root, so as root
//! `postgres` or `nobody` is taken. Never touches another PostgreSQL of the machine.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::apt;
use crate::command_line::{CommandLine, DeathSignal, RunAs, as_user, on_path};
use crate::credentials::random_hex;
use crate::error::DevClusterError;
use crate::folder::Folder;
use crate::go_build::file_error;
use crate::progress::{Progress, ProgressSink};

const PACKAGED: &str = "/usr/lib/postgresql";

/// An initialised PostgreSQL that is not running yet.
#[derive(Debug)]
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    run_as: Option<RunAs>,
    password: String,
}

impl Postgres {
    /// Finds the programs and makes the data folder, unless it exists.
    pub(crate) async fn prepare(
        folder: &Folder,
        progress: &ProgressSink,
    ) -> Result<Self, DevClusterError> {
        let programs = programs_or_install(progress).await?;
        let own = folder.join("postgres");
        let run_as = if rustix::process::geteuid().is_root() {
            Some(other_user()?)
        } else {
            None
        };
        fs::create_dir_all(&own).map_err(file_error(&own))?;
        let password_file = own.join("password");
        let password = match fs::read_to_string(&password_file) {
            Ok(password) => password,
            Err(_) => random_hex(12)?,
        };
        fs::write(&password_file, &password).map_err(file_error(&password_file))?;
        if let Some(RunAs { uid, gid }) = run_as {
            chown(&own, Some(uid), Some(gid)).map_err(file_error(&own))?;
            chown(&password_file, Some(uid), Some(gid)).map_err(file_error(&password_file))?;
        }
        let postgres = Self {
            programs,
            folder: own,
            run_as,
            password,
        };
        if !postgres.folder.join("data").join("PG_VERSION").is_file() {
            postgres.init().await?;
        }
        Ok(postgres)
    }

    async fn init(&self) -> Result<(), DevClusterError> {
        let words: Vec<OsString> = vec![
            self.programs.join("initdb").into(),
            "--pgdata=data".into(),
            "--username=postgres".into(),
            "--pwfile=password".into(),
            "--auth=scram-sha-256".into(),
            "--encoding=UTF8".into(),
            "--locale=C".into(),
            "--no-sync".into(),
        ];
        let mut command = as_user(self.run_as, words);
        command.current_dir(&self.folder);
        run("initdb", command).await
    }

    /// The server on `port`. fsync is off: data survives a killed server, not a lost machine.
    pub(crate) fn command(&self, port: u16) -> CommandLine {
        let mut line = CommandLine::new(&self.programs.join("postgres"), &self.folder)
            .arg("-D")
            .arg("data")
            .arg("-p")
            .arg(port.to_string());
        for setting in [
            "listen_addresses=127.0.0.1",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=200",
            "shared_buffers=32MB",
            "logging_collector=off",
        ] {
            line = line.arg("-c").arg(setting);
        }
        let mut sockets = OsString::from("unix_socket_directories=");
        sockets.push(&self.folder);
        line = line.arg("-c").arg(sockets);
        line.run_as = self.run_as;
        line.death_signal = DeathSignal::Quit;
        line
    }

    /// Whether the server on `port` accepts connections.
    pub(crate) async fn is_ready(&self, port: u16) -> bool {
        Command::new(self.programs.join("pg_isready"))
            .args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()])
            .kill_on_drop(true)
            .status()
            .await
            .is_ok_and(|status| status.success())
    }

    /// Makes a database.
    pub(crate) async fn create_database(
        &self,
        port: u16,
        name: &str,
    ) -> Result<(), DevClusterError> {
        let mut command = std::process::Command::new(self.programs.join("createdb"));
        command
            .args([
                "--host=127.0.0.1",
                "--username=postgres",
                "--no-password",
                "--port",
            ])
            .arg(port.to_string())
            .arg(name)
            .env("PGPASSWORD", &self.password);
        run("createdb", command).await
    }

    /// Connection URL of a database.
    pub(crate) fn url(&self, port: u16, database: &str) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{port}/{database}",
            self.password
        )
    }
}

async fn run(tool: &'static str, command: std::process::Command) -> Result<(), DevClusterError> {
    let done = Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| DevClusterError::Run {
            program: tool.to_owned(),
            source,
        })?;
    if done.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(DevClusterError::PostgresTool { tool, output })
}

/// `postgres`, else `nobody`.
fn other_user() -> Result<RunAs, DevClusterError> {
    let path = Path::new("/etc/passwd");
    let text = fs::read_to_string(path).map_err(file_error(path))?;
    let find = |name: &str| {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(RunAs { uid, gid })
        })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .ok_or(DevClusterError::NoPostgresUser)
}

async fn programs_or_install(progress: &ProgressSink) -> Result<PathBuf, DevClusterError> {
    if let Some(found) = programs() {
        return Ok(found);
    }
    if !apt::can_install() {
        return Err(DevClusterError::PostgresMissing);
    }
    progress(&Progress::InstallingPostgres);
    apt::install("postgresql")
        .await?
        .map_err(|output| DevClusterError::PostgresInstall { output })?;
    programs().ok_or(DevClusterError::PostgresMissing)
}

/// The folder with the newest programs: PATH or the distribution's versioned folders.
fn programs() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| {
        ["initdb", "postgres", "createdb", "pg_isready"]
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    let on_path = on_path("postgres")
        .and_then(|program| program.canonicalize().ok())
        .and_then(|program| program.parent().map(Path::to_owned));
    let packaged = fs::read_dir(PACKAGED).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = packaged
        .map(|entry| entry.path().join("bin"))
        .chain(on_path)
        .filter(complete)
        .collect();
    found.sort_by_key(|folder| major_version(folder));
    found.pop()
}

/// The release that the folder `.../<release>/bin` names; 0 where it names none.
fn major_version(programs: &Path) -> u32 {
    programs
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .and_then(|name| name.parse().ok())
        .unwrap_or(0)
}
