//! Finds or installs libfaketime: by it a program sees another wall clock than the machine's.
//!
//! Decides which file is preloaded; never what time it is made to tell.

use std::fs;
use std::path::PathBuf;

use crate::apt;
use crate::error::DevClusterError;
use crate::progress::{Progress, ProgressSink};

/// Where distributions keep libraries, each with a folder for the machine's architecture.
const LIBRARIES: [&str; 2] = ["/usr/lib", "/usr/local/lib"];
/// The build for programs with threads.
const NAME: &str = "faketime/libfaketimeMT.so.1";

/// The library to preload.
pub async fn faketime(progress: &ProgressSink) -> Result<PathBuf, DevClusterError> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if !apt::can_install() {
        return Err(DevClusterError::FaketimeMissing);
    }
    progress(&Progress::InstallingFaketime);
    apt::install("libfaketime")
        .await?
        .map_err(|output| DevClusterError::FaketimeInstall { output })?;
    find().ok_or(DevClusterError::FaketimeMissing)
}

fn find() -> Option<PathBuf> {
    let folders = LIBRARIES.iter().flat_map(|folder| {
        let inner = fs::read_dir(folder).into_iter().flatten().flatten();
        let inner = inner.map(|entry| entry.path());
        std::iter::once(PathBuf::from(folder)).chain(inner)
    });
    folders
        .map(|folder| folder.join(NAME))
        .find(|library| library.is_file())
}
