//! The watcher's process: 0 when asked to end, 1 for what is configured wrongly, 2 for what was lost.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_common::class::{Classify as _, ErrorClass};
use signalbox_common::{shutdown, telemetry};
use signalbox_watcher::{Args, run};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        return ExitCode::from(2);
    };
    runtime.block_on(async {
        let _telemetry = match telemetry::init("watcher", &args.common) {
            Ok(telemetry) => telemetry,
            Err(error) => {
                tracing::error!(%error, "failed to set up telemetry");
                return ExitCode::from(1);
            }
        };
        match run(args, shutdown::token()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(%error, "watcher ended");
                ExitCode::from(match error.class() {
                    ErrorClass::Invalid | ErrorClass::Forbidden => 1,
                    ErrorClass::Transient
                    | ErrorClass::Throttled
                    | ErrorClass::Conflict
                    | ErrorClass::NameTaken
                    | ErrorClass::Missing
                    | ErrorClass::Ambiguous
                    | ErrorClass::Fatal => 2,
                })
            }
        }
    })
}
