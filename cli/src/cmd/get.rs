//! `signalbox get`: the tree of an app or a migration, once or redrawn with each change.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use signalbox_common::clock;

use super::print;
use crate::connect::KubeArgs;
use crate::error::CliError;
use crate::live::Target;
use crate::paint::Painter;

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `NAME` of a `PortfolioApp`, or `KIND NAME` (papp, dbm).
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT")]
    object: Vec<String>,
    /// Go on, and draw anew with each change.
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    kube: KubeArgs,
}

/// How often ages are drawn anew.
const AGES: Duration = Duration::from_secs(1);

/// Shows the tree.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let target = Target::connect(&args.kube, &args.object).await?;
    let painter = Painter::of_stdout();
    if args.watch {
        return watch(&target, painter).await;
    }
    print(&target.picture().await?.lines(clock::now(), painter));
    Ok(ExitCode::SUCCESS)
}

async fn watch(target: &Target, painter: Painter) -> Result<ExitCode, CliError> {
    let redraws = std::io::stdout().is_terminal();
    let mut changes = target.changes();
    let mut picture = target.picture().await?;
    loop {
        draw(&picture.lines(clock::now(), painter), redraws);
        let next = if redraws {
            tokio::time::timeout(AGES, changes.next()).await
        } else {
            Ok(changes.next().await)
        };
        match next {
            Ok(Some(())) => picture = target.picture().await?,
            Ok(None) => return Ok(ExitCode::SUCCESS),
            // Nothing but the ages has changed.
            Err(_) => {}
        }
    }
}

/// On a terminal over the former picture, else below it.
fn draw(lines: &[String], redraws: bool) {
    if redraws {
        let mut out = std::io::stdout().lock();
        // A closed terminal ends the process by its signal.
        let _ = write!(out, "\u{1b}[H\u{1b}[2J");
    }
    print(lines);
    if !redraws {
        print(&[String::new()]);
    }
}
