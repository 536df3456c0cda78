//! The planner's process. Exit codes: 0 clean, 1 configuration, 2 a dependency was lost.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_common::class::{Classify as _, ErrorClass};
use signalbox_common::{shutdown, telemetry};
use signalbox_planner::service::{Args, RunError, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let _telemetry = match telemetry::init("planner", &args.common) {
        Ok(telemetry) => telemetry,
        Err(err) => return refuse(&err.to_string()),
    };
    #[cfg(feature = "variants")]
    if let Some(refusal) = unknown_variant() {
        return refuse(&refusal);
    }
    match run(args, shutdown::token()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            tracing::error!(error = %err, "the planner could not run");
            exit_code(&err)
        }
    }
}

/// Takes the variant that ``SIGNALBOX_PLANNER_VARIANT`` names; says so if there is none of this name.
#[cfg(feature = "variants")]
#[expect(clippy::disallowed_methods, reason = "chosen before the first plan")]
fn unknown_variant() -> Option<String> {
    let name = std::env::var("SIGNALBOX_PLANNER_VARIANT").ok()?;
    (!signalbox_planner::variant::choose(&name)).then(|| format!("no variant is named {name}"))
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
    eprintln!("signalbox-planner: {why}");
    ExitCode::from(1)
}
