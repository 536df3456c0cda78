//! `signalbox dev`: everything in one terminal; with `--demo` a run that checks itself and ends.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::dev;
use crate::error::CliError;
use crate::paint::Painter;

/// Arguments of `dev`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Release the example, check each step, and end: 0 everything as it should be, 1 not.
    #[arg(long)]
    demo: bool,
    /// Folder for data and logs, which stays; without one a temporary folder, which goes at the end.
    #[arg(long)]
    root: Option<PathBuf>,
}

/// Starts everything.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let voice = dev::Voice::new(Painter::of_stdout());
    match dev::run(args.demo, args.root, &voice).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ CliError::Check { .. }) => {
            voice.bad(&error.to_string());
            Ok(ExitCode::FAILURE)
        }
        Err(other) => Err(other),
    }
}
