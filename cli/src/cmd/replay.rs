//! `signalbox replay`: plans all recorded events again and compares.
//!
//! 0 all the same, 1 any difference. Reads only: nothing is sent to anybody.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_common::clock;
use signalbox_common::id::ObjectKey;
use signalbox_common::wire::{Observation, Plan};

use super::print;
use crate::connect::BusArgs;
use crate::error::CliError;
use crate::ledger::{self, Query};
use crate::live::kind_and_name;
use crate::replay::{Report, compare_with};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only what is younger, such as 90s, 10m or 1h, or later than a time (RFC 3339).
    #[arg(long, value_parser = since)]
    since: Option<Since>,
    /// Only this object: `KIND/NAMESPACE/NAME`.
    #[arg(long, value_name = "KIND/NAMESPACE/NAME", value_parser = object)]
    object: Option<ObjectKey>,
    #[command(flatten)]
    bus: BusArgs,
}

/// A moment, given as an age or as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// That long ago.
    Ago(Duration),
    /// Then.
    At(Timestamp),
}

impl Since {
    /// The moment, seen from now.
    #[must_use]
    pub fn at(self) -> Timestamp {
        match self {
            Self::Ago(age) => clock::now()
                .checked_sub(age)
                .unwrap_or(Timestamp::UNIX_EPOCH),
            Self::At(time) => time,
        }
    }
}

/// Reads an age or a time.
pub(crate) fn since(text: &str) -> Result<Since, String> {
    if let Ok(age) = super::status::duration(text) {
        return Ok(Since::Ago(age));
    }
    text.parse().map(Since::At).map_err(|_| {
        format!("`{text}` is neither an age (90s, 10m, 1h) nor a time (2026-01-31T12:00:00Z)")
    })
}

fn object(text: &str) -> Result<ObjectKey, String> {
    let wrong =
        || format!("`{text}` is no object: write papp/NAMESPACE/NAME or dbm/NAMESPACE/NAME");
    let words: Vec<&str> = text.split('/').collect();
    let [kind, namespace, name] = words.as_slice() else {
        return Err(wrong());
    };
    let words = [(*kind).to_owned(), (*name).to_owned()];
    let (kind, name) = kind_and_name(&words).map_err(|error| error.to_string())?;
    Ok(ObjectKey::new(kind, *namespace, name))
}

/// Plans again and compares.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    run_with(args, signalbox_planner::plan).await
}

/// The same with another planner than this build's.
pub async fn run_with(
    args: Args,
    plan: impl Fn(&Observation) -> Plan,
) -> Result<ExitCode, CliError> {
    let query = Query {
        object: args.object,
        since: args.since.map(Since::at),
    };
    let entries = ledger::read(&args.bus, &query).await?;
    let report = compare_with(&entries, plan);
    print(&lines(&report));
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The report as lines; the counts come last.
#[must_use]
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for differs in &report.differs {
        lines.push(format!(
            "differs  {}  {}  cause {}, recorded by planner {}",
            differs.reconcile_id, differs.object, differs.cause, differs.recorded_by
        ));
        lines.extend(differs.changes.iter().map(|change| format!("    {change}")));
    }
    for missing in &report.missing {
        lines.push(format!(
            "missing  {}  {}  {}",
            missing.reconcile_id, missing.object, missing.reason
        ));
    }
    lines.push(report.summary());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::kinds::Kind;

    #[test]
    fn an_age_or_a_time_is_read() {
        assert_eq!(since("10m"), Ok(Since::Ago(Duration::from_mins(10))));
        assert!(matches!(since("2026-01-31T12:00:00Z"), Ok(Since::At(_))));
        assert!(since("yesterday").unwrap_err().contains("10m"));
    }

    #[test]
    fn objects_are_given_with_their_namespace() {
        assert_eq!(
            object("papp/shop/web"),
            Ok(ObjectKey::new(Kind::PortfolioApp, "shop", "web"))
        );
        assert!(object("web").unwrap_err().contains("papp/NAMESPACE/NAME"));
    }
}
