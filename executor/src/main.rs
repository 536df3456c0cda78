//! The executor's process. Exit codes: 0 clean, 1 configuration, 2 a dependency was lost.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_common::class::{Classify as _, ErrorClass};
use signalbox_common::{shutdown, telemetry};
use signalbox_executor::{Args, RunError, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let _telemetry = match telemetry::init("executor", &args.common) {
        Ok(telemetry) => telemetry,
        Err(err) => return refuse(&err.to_string()),
    };
    match run(args, shutdown::token()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!(error = %err, "the executor could not run");
            exit_code(&err)
        }
    }
}

/// Configuration errors never heal by another try.
fn exit_code(err: &RunError) -> ExitCode {
    match err.class() {
        ErrorClass::Invalid | ErrorClass::Forbidden => ExitCode::from(1),
        ErrorClass::Transient
        | ErrorClass::Throttled
        | ErrorClass::Conflict
        | ErrorClass::NameTaken
        | ErrorClass::Missing
        | ErrorClass::Ambiguous
        | ErrorClass::Fatal => ExitCode::from(2),
    }
}

#[expect(clippy::print_stderr, reason = "there is no log yet")]
fn refuse(why: &str) -> ExitCode {
    eprintln!("signalbox-executor: {why}");
    ExitCode::from(1)
}
