//! Speaks to the API server through kubectl, which spares this crate a client and TLS.
//!
//! Decides arguments and environment only; never waits for anything and never retries.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error::DevClusterError;

/// kubectl as one user.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) cache: PathBuf,
}

impl Kubectl {
    /// Runs one command with `input` on stdin, and returns what it printed.
    pub(crate) async fn run(
        &self,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, DevClusterError> {
        let failed = |source| DevClusterError::Run {
            program: self.program.display().to_string(),
            source,
        };
        let mut child = Command::new(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // kubectl that ends before it has read everything says why itself.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let done = child.wait_with_output().await.map_err(failed)?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        Err(DevClusterError::Kubectl {
            arguments: arguments.join(" "),
            output: String::from_utf8_lossy(&done.stderr).into_owned(),
        })
    }
}
