//! Builds the servers ahead of time (`build`), or tells where they are (`path`).
//!
//! Never starts a cluster: that is for tests and for the command line tool.

use std::io::Write as _;
use std::process::ExitCode;

use signalbox_devcluster::{Tool, locate, to_stderr};

#[tokio::main]
async fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let silent = match command.as_deref() {
        Some("build") => false,
        Some("path") => true,
        Some(_) | None => return usage(),
    };
    let tools = match locate(&Tool::ALL, &to_stderr()).await {
        Ok(tools) => tools,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = std::io::stdout().lock();
    for (tool, path) in tools {
        let line = if silent {
            writeln!(out, "{}", path.display())
        } else {
            writeln!(out, "{tool}: {}", path.display())
        };
        if line.is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let text = "usage: signalbox-devcluster build   build missing servers, once per version\n       \
                signalbox-devcluster path    print the path of each server\n";
    // Nothing is left to try if stderr is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}
