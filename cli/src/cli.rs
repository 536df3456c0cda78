//! The arguments of all commands, and which code runs them.
//!
//! Never does anything itself.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cmd;
use crate::error::CliError;

/// Applications, their schema migrations and their releases, with a record of every decision.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a local control plane with all parts and the example app, and show what happens.
    Dev(cmd::dev::Args),
    /// Show an app or a migration as a tree of revisions, Deployments, pods and files.
    Get(cmd::get::Args),
    /// Tell whether an app or a migration is ready, for CI: 0 ready, 1 failed, 3 not in time.
    Status(cmd::status::Args),
    /// Show the history of an object from cause to effect, from the ledger.
    Timeline(cmd::timeline::Args),
    /// Plan all recorded events again and compare: 0 all the same, 1 any difference.
    Replay(cmd::replay::Args),
    /// Manage the streams of the bus.
    #[command(subcommand)]
    Bus(cmd::bus::Command),
    /// Write the generated manifests.
    #[command(hide = true)]
    Generate(cmd::generate::Args),
}

/// Reads the arguments and does what they say.
pub async fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, CliError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = parse(&arguments).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Dev(args) => cmd::dev::run(args).await,
        Command::Get(args) => cmd::get::run(args).await,
        Command::Status(args) => cmd::status::run(args).await,
        Command::Timeline(args) => cmd::timeline::run(args).await,
        Command::Replay(args) => cmd::replay::run(args).await,
        Command::Bus(command) => cmd::bus::run(command).await,
        Command::Generate(args) => cmd::generate::run(&args),
    }
}

/// Help speaks of `kubectl signalbox` where kubectl has called.
fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    let plugin = program.is_some_and(|name| name.to_string_lossy().starts_with("kubectl"));
    let name = if plugin {
        "kubectl signalbox"
    } else {
        "signalbox"
    };
    let matches = Cli::command()
        .name("signalbox")
        .bin_name(name)
        .try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn kubectl_sees_its_own_name_in_the_help() {
        let help = parse(&words("/opt/bin/kubectl-signalbox get --help"))
            .unwrap_err()
            .to_string();
        assert!(help.contains("Usage: kubectl signalbox get"), "{help}");
    }

    #[test]
    fn a_wrong_value_names_the_flag() {
        let error = parse(&words("signalbox status web --timeout soon"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--timeout") && error.contains("soon"),
            "{error}"
        );
    }
}
