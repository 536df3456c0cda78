//! `signalbox status`: one line and an exit code, for CI.
//!
//! 0 ready, 1 failed, stalled or rolled back, 3 neither (in time, with `--wait`).

use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;

use super::print;
use crate::connect::KubeArgs;
use crate::error::CliError;
use crate::live::Target;
use crate::tree::Standing;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `NAME` of a `PortfolioApp`, or `KIND NAME` (papp, dbm).
    #[arg(required = true, num_args = 1..=2, value_name = "OBJECT")]
    object: Vec<String>,
    /// Wait until it is ready or has failed.
    #[arg(short, long)]
    wait: bool,
    /// How long to wait, such as 90s, 10m or 1h.
    #[arg(short, long, default_value = "10m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    kube: KubeArgs,
}

/// Exit code: neither ready nor failed.
const NOT_YET: u8 = 3;

/// Tells how an object is.
pub async fn run(args: Args) -> Result<ExitCode, CliError> {
    let target = Target::connect(&args.kube, &args.object).await?;
    let limit = if args.wait {
        args.timeout
    } else {
        Duration::ZERO
    };
    let standing = settled(&target, limit).await?;
    print(&[line(&standing)]);
    Ok(code(&standing))
}

/// The standing once it is ready or failed, or the last one within `limit`.
pub async fn settled(target: &Target, limit: Duration) -> Result<Standing, CliError> {
    let missing = || CliError::NotFound {
        kind: target.kind.as_str(),
        name: target.name.clone(),
        namespace: target.cluster.namespace.clone(),
    };
    let mut standing = target.standing().await?.ok_or_else(missing)?;
    let deadline = tokio::time::Instant::now() + limit;
    let mut changes = target.changes();
    while !standing.ready && !standing.failed {
        match tokio::time::timeout_at(deadline, changes.next()).await {
            Ok(Some(())) => standing = target.standing().await?.ok_or_else(missing)?,
            Ok(None) | Err(_) => break,
        }
    }
    Ok(standing)
}

fn line(standing: &Standing) -> String {
    if standing.message.is_empty() {
        standing.phase.clone()
    } else {
        format!("{} - {}", standing.phase, standing.message)
    }
}

fn code(standing: &Standing) -> ExitCode {
    match (standing.ready, standing.failed) {
        (_, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(NOT_YET),
    }
}

/// `90s`, `10m`, `1h`, or plain seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration: write 90s, 10m or 1h");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = text.get(digits.len()..).unwrap_or_default();
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_refused_with_an_example() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
        assert!(duration("soon").unwrap_err().contains("90s"));
        assert!(duration("1y").is_err());
    }
}
