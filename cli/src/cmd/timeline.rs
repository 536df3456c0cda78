//! `signalbox timeline`: an object's history from cause to effect, from the ledger.

use std::process::ExitCode;

use signalbox_common::id::ObjectKey;

use super::print;
use crate::connect::{BusArgs, KubeArgs};
use crate::error::CliError;
use crate::ledger::{self, Query};
use crate::live::kind_and_name;
use crate::paint::Painter;
use crate::timeline::lines;

/// Arguments of `timeline`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `NAME` of a `PortfolioApp`, or `KIND NAME` (papp, dbm).
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT")]
    object: Vec<String>,
    /// Only what is younger, such as 90s, 10m or 1h, or later than a time (RFC 3339).
    #[arg(long, value_parser = super::replay::since)]
    since: Option<super::replay::Since>,
    #[command(flatten)]
    kube: KubeArgs,
    #[command(flatten)]
    bus: BusArgs,
}

/// Shows the history.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let (kind, name) = kind_and_name(&args.object)?;
    let key = ObjectKey::new(kind, args.kube.namespace().await?, name);
    let since = args.since.map(super::replay::Since::at);
    let query = Query {
        object: Some(key.clone()),
        since,
    };
    let entries = ledger::read(&args.bus, &query).await?;
    if entries.is_empty() {
        return Err(CliError::Usage(format!(
            "the ledger has nothing about {key} in cluster `{}` (another namespace: -n NAMESPACE)",
            args.bus.cluster
        )));
    }
    print(&lines(&entries, Painter::of_stdout()));
    Ok(ExitCode::SUCCESS)
}
