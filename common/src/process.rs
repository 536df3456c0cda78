//! The process of a part: telemetry first, then its work, then the exit code.
//!
//! Exit codes: 0 asked to end, 1 configured wrongly, 2 lost a dependency or broke. Knows nothing of the work itself.

use std::fmt::Display;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::class::{Classify, ErrorClass};
use crate::config::CommonArgs;
use crate::{scheduling, shutdown, telemetry, thread};

/// Runs the work of `part` until it ends; the token it gets is cancelled by SIGTERM and SIGINT.
pub fn live<E, F>(
    part: &'static str,
    args: &CommonArgs,
    work: impl FnOnce(CancellationToken) -> F,
) -> ExitCode
where
    E: Classify + Display + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    match thread::runtime() {
        Ok(runtime) => runtime.block_on(work_until_end(part, args, work)),
        Err(error) => refuse(part, &error),
    }
}

async fn work_until_end<E, F>(
    part: &'static str,
    args: &CommonArgs,
    work: impl FnOnce(CancellationToken) -> F,
) -> ExitCode
where
    E: Classify + Display + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let waits = scheduling::wait_our_turn();
    let _telemetry = match telemetry::init(part, args) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse(part, &error),
    };
    tracing::debug!(waits, "whether running threads are never pushed aside");
    // As a task: each wake-up of what the runtime waits for itself is two system calls more.
    match tokio::spawn(work(shutdown::token())).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!(%error, part, "the part could not go on");
            exit_code(error.class())
        }
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody cancels it.
            Err(_cancelled) => exit_code(ErrorClass::Fatal),
        },
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
