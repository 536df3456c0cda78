//! `signalbox bus ensure`: makes the streams and consumers, or brings their limits up to date.
//!
//! Never deletes or empties anything.

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use signalbox_common::bus::ensure;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::shutdown;

use super::print;
use crate::connect::BusArgs;
use crate::error::CliError;

/// What to do with the bus.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make streams and consumers, or bring their limits up to date; never destructive.
    Ensure(Ensure),
}

/// Arguments of `bus ensure`.
#[derive(Debug, clap::Args)]
pub struct Ensure {
    /// Go on: do it again as soon as its connection is back, and every 5 s, so that a wiped bus comes back.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    streams: ensure::EnsureArgs,
    #[command(flatten)]
    bus: BusArgs,
}

/// How often `--keep` looks.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Does what was asked.
pub async fn run(command: Command) -> Result<ExitCode, CliError> {
    let Command::Ensure(args) = command;
    let bus = JetStreamBus::with_args(&args.bus.common(), &Role::Ensure).await?;
    let changes = ensure::ensure(&bus, &args.streams).await?;
    if changes.is_empty() {
        print(&["all streams and consumers are as they should be".to_owned()]);
    }
    print(&changes.iter().map(ToString::to_string).collect::<Vec<_>>());
    if args.keep {
        let telemetry = signalbox_common::telemetry::init("ensure", &args.bus.common());
        ensure::keep(&bus, &args.streams, EVERY, shutdown::token()).await;
        drop(telemetry);
    }
    Ok(ExitCode::SUCCESS)
}
