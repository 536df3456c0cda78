//! Builds one pinned server into the user's cache, once per version.
//!
//! Decides where built servers lie and how `go build` is called. Never leaves half a program: it is
//! built under another name and renamed, behind a file lock that other processes wait for.

use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::error::DevClusterError;
use crate::progress::{Progress, ProgressSink};
use crate::servers::{Module, Tool};

/// How often a build elsewhere is looked at.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// The folder that holds the built programs of `module`.
pub(crate) fn folder(module: &Module) -> Result<PathBuf, DevClusterError> {
    let mut hash = Sha256::new();
    for part in [module.go_mod, module.go_sum, module.ldflags] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut name = format!("{}-", module.name);
    for byte in hash.finalize().iter().take(8) {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    Ok(cache_folder()?.join("servers").join(name))
}

/// Path of `tool` in the cache, built if it is not there.
pub(crate) async fn build(tool: Tool, progress: &ProgressSink) -> Result<PathBuf, DevClusterError> {
    let folder = folder(tool.module())?;
    let target = folder.join(tool.binary());
    if target.is_file() {
        return Ok(target);
    }
    fs::create_dir_all(&folder).map_err(file_error(&folder))?;
    let _lock = lock(&folder.join("lock"), tool, progress).await?;
    if target.is_file() {
        return Ok(target);
    }
    let source = folder.join("source");
    write_module(&source, tool.module())?;
    progress(&Progress::Building { tool });
    let begun = Instant::now();
    let unfinished = folder.join(format!("{}.unfinished", tool.binary()));
    go_build(tool, &source, &unfinished).await?;
    fs::rename(&unfinished, &target).map_err(file_error(&target))?;
    progress(&Progress::Built {
        tool,
        took: begun.elapsed(),
    });
    Ok(target)
}

async fn go_build(tool: Tool, source: &Path, output: &Path) -> Result<(), DevClusterError> {
    let done = Command::new("go")
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            tool.module().ldflags,
            "-o",
        ])
        .arg(output)
        .arg(tool.package())
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS")
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    match done {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(DevClusterError::Build {
            tool,
            output: String::from_utf8_lossy(&done.stderr).into_owned(),
        }),
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            Err(DevClusterError::GoMissing { tool })
        }
        Err(source) => Err(DevClusterError::Run {
            program: "go".to_owned(),
            source,
        }),
    }
}

fn write_module(source: &Path, module: &Module) -> Result<(), DevClusterError> {
    fs::create_dir_all(source).map_err(file_error(source))?;
    for (name, text) in [("go.mod", module.go_mod), ("go.sum", module.go_sum)] {
        let path = source.join(name);
        fs::write(&path, text).map_err(file_error(&path))?;
    }
    Ok(())
}

/// The lock is released when the file is closed, also when its holder is killed.
async fn lock(path: &Path, tool: Tool, progress: &ProgressSink) -> Result<File, DevClusterError> {
    let file = File::create(path).map_err(file_error(path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress(&Progress::Waiting { tool });
                    told = true;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::Error(source)) => return Err(file_error(path)(source)),
        }
    }
}

/// The user's folder for what is built once.
pub fn cache_folder() -> Result<PathBuf, DevClusterError> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    set("SIGNALBOX_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("signalbox")))
        .or_else(|| set("HOME").map(|home| home.join(".cache").join("signalbox")))
        .ok_or(DevClusterError::NoCache)
}

/// Names the file in an input or output error.
pub(crate) fn file_error(path: &Path) -> impl FnOnce(io::Error) -> DevClusterError + use<> {
    let path = path.to_owned();
    move |source| DevClusterError::File { path, source }
}
