//! The folder of one cluster: data, logs, keys and kubeconfigs.
//!
//! Decides where it lies and when it goes: a temporary one goes at the end, and those of killed
//! processes go at the next start. Never removes a folder that the caller named.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::credentials::random_hex;
use crate::error::DevClusterError;
use crate::go_build::file_error;

const PREFIX: &str = "signalbox-devcluster-";
const LOCK: &str = "devcluster.lock";
/// A lock file this young may belong to a start that has not locked it yet.
const SETTLED: Duration = Duration::from_mins(1);

const REMOVE_TRIES: usize = 20;

/// The folder; removed when dropped, if temporary.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    temporary: bool,
    /// Held as long as the folder is used, so that a later start can tell it from a left-over one.
    _lock: File,
}

impl Folder {
    /// The given folder, or a new temporary one.
    pub(crate) fn create(root: Option<&Path>, name: &str) -> Result<Self, DevClusterError> {
        remove_left_over();
        let temporary = root.is_none();
        let path = match root {
            Some(root) => {
                fs::create_dir_all(root).map_err(file_error(root))?;
                root.canonicalize().map_err(file_error(root))?
            }
            None => std::env::temp_dir().join(format!("{PREFIX}{name}-{}", random_hex(6)?)),
        };
        if temporary {
            fs::create_dir(&path).map_err(file_error(&path))?;
        }
        let lock_path = path.join(LOCK);
        let lock = File::create(&lock_path).map_err(file_error(&lock_path))?;
        lock.try_lock()
            .map_err(|error| file_error(&lock_path)(error.into()))?;
        let folder = Self {
            path,
            temporary,
            _lock: lock,
        };
        // Others may pass through (PostgreSQL runs as another user), but not look around.
        folder.set_mode(&folder.path, 0o711)?;
        for part in ["logs", "keys", "kubeconfig", "etcd", "nats", "audit"] {
            let path = folder.path.join(part);
            fs::create_dir_all(&path).map_err(file_error(&path))?;
            folder.set_mode(&path, 0o700)?;
        }
        Ok(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder with one log file per server.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub(crate) fn join(&self, part: &str) -> PathBuf {
        self.path.join(part)
    }

    /// Whether it goes at the end.
    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Writes a file that only the owner may read, and returns its path.
    pub(crate) fn write(&self, part: &str, text: &str) -> Result<PathBuf, DevClusterError> {
        let path = self.path.join(part);
        fs::write(&path, text).map_err(file_error(&path))?;
        self.set_mode(&path, 0o600)?;
        Ok(path)
    }

    #[expect(clippy::unused_self, reason = "modes are set below this folder only")]
    fn set_mode(&self, path: &Path, mode: u32) -> Result<(), DevClusterError> {
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(file_error(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.temporary {
            return;
        }
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                // A child of a start that was given up may be writing its last file.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
        tracing::warn!(folder = %self.path.display(), "failed to remove folder");
    }
}

/// Removes temporary folders whose process is gone. Servers of a killed process end by themselves.
fn remove_left_over() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX));
        if ours && is_left_over(&entry.path().join(LOCK)) {
            // Someone else may be removing the same folder.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_left_over(lock: &Path) -> bool {
    let Ok(file) = File::open(lock) else {
        return false;
    };
    let age = file
        .metadata()
        .and_then(|m| m.modified())
        .ok()
        .and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > SETTLED) && file.try_lock().is_ok()
}
