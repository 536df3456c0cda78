//! `signalbox replay` of a build whose planner differs in one rule; the arguments and exit codes are the same.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use signalbox_cli::cmd::replay::{Args, run_with};
use signalbox_planner_changed::plan;

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    replay: Args,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run_with(Arguments::parse().replay, plan).await {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to try if stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}
