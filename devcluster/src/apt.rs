//! Packages of Debian and Ubuntu, for what is no Go module.
//!
//! Decides how a package is installed; never which, and never without being root.

use tokio::process::Command;

use crate::command_line::on_path;
use crate::error::DevClusterError;

/// Whether packages can be installed here.
pub(crate) fn can_install() -> bool {
    rustix::process::geteuid().is_root() && on_path("apt-get").is_some()
}

/// Installs a package; the inner error is what apt-get said.
pub(crate) async fn install(package: &str) -> Result<Result<(), String>, DevClusterError> {
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", package][..],
    ] {
        let done = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| DevClusterError::Run {
                program: "apt-get".to_owned(),
                source,
            })?;
        if !done.status.success() {
            return Ok(Err(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
    }
    Ok(Ok(()))
}
