//! The binary `signalbox`; under the name `kubectl-signalbox` it is a plugin of kubectl.
//!
//! Exit codes: 0 as asked, 1 not as asked (see each command), 2 could not be tried, 3 not in time.

use std::io::Write as _;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match signalbox_cli::cli::run(std::env::args_os()).await {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to try if stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}
