//! The process of a part: telemetry first, then its work, then the exit code.
//!
//! Exit codes: 0 asked to end, 1 configured wrongly, 2 lost a dependency or broke. Knows nothing of the work itself.

use std::fmt::Display;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::class::{Classify, ErrorClass};
use crate::config::CommonArgs;
use crate::{shutdown, telemetry};

/// Runs the work of `part` until it ends; the token it gets is cancelled by SIGTERM and SIGINT.
pub async fn live<E, F>(
    part: &'static str,
    args: &CommonArgs,
    work: impl FnOnce(CancellationToken) -> F,
) -> ExitCode
where
    E: Classify + Display,
    F: Future<Output = Result<(), E>>,
{
    let _telemetry = match telemetry::init(part, args) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(part, &error),
    };
    match work(shutdown::token()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, part, "the part could not go on");
            exit_code(error.class())
        }
    }
}

/// Ends a process that can't have a log yet.
#[expect(clippy::print_stderr, reason = "there is no log yet")]
pub fn refuse(part: &str, why: &dyn Display) -> ExitCode {
    eprintln!("signalbox-{part}: {why}");
    ExitCode::from(1)
}

/// What is configured wrongly never heals by another start; what was lost may.
fn exit_code(class: ErrorClass) -> ExitCode {
    ExitCode::from(match class {
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
