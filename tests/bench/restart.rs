//! An operator that ends and starts again while its fleet is converged: how soon it serves a change that was made
//! meanwhile, and what it writes where there is nothing to do.

use std::time::Instant;

use serde_json::json;

use crate::bar::Bar;
use crate::bench::Bench;
use crate::contender::{Operator, Side, each};
use crate::field::{Field, done, name};
use crate::fleet::{Took, middle};
use crate::report::Report;

/// Replicas that no other scenario asks for.
const REPLICAS: i64 = 3;

/// The middle of some restarts.
#[derive(Clone, Debug)]
pub(crate) struct Restarted {
    apps: usize,
    /// From the start of its processes to the child of the change.
    reaction: Took,
    /// Writes beside those that the change needs.
    idle_writes: f64,
}

/// Restarts a field's operator some times.
pub(crate) async fn measure(
    bench: &Bench,
    field: &mut Field,
    apps: usize,
) -> Result<Restarted, String> {
    let mut rounds = Vec::new();
    for round in 0..bench.options.restarts {
        let mut children = field.eye("deployment").await;
        field.operator.stop().await;
        let (app, mark) = (name(round), field.audit.mark());
        field.change(&app, json!({ "replicas": REPLICAS })).await;
        // Its processes have ended: what the new ones use counts from nothing.
        let (before, started) = (field.usage(), Instant::now());
        field.operator = Operator::start(field.side, &field.world, &bench.programs)?;
        let child = children.until_replicas(&app, REPLICAS).await;
        let reaction = Took::since(field, &before, (child.at - started).as_secs_f64());
        field.quiet().await;
        let writes = done(&field.writes_since(mark));
        let needed = bench.needed(field.side).scale.len();
        rounds.push(Restarted {
            apps,
            reaction,
            idle_writes: writes.saturating_sub(needed) as f64,
        });
    }
    let most = rounds
        .iter()
        .map(|round| round.idle_writes)
        .fold(0.0, f64::max);
    let middle = middle(rounds, |round| round.reaction.seconds);
    Ok(Restarted {
        idle_writes: most,
        ..middle
    })
}

/// The figures of all sides.
pub(crate) fn tell(restarted: &[(Side, Restarted)], report: &mut Report) {
    let Some((_, first)) = restarted.first() else {
        return;
    };
    for (side, restarted) in restarted {
        let detail = restarted.reaction.detail();
        report.detail(&format!("restart {}", side.name()), detail);
    }
    let what = format!("start → first reaction, {} apps", first.apps);
    report.row_with(
        "restart",
        what,
        "s",
        &each(restarted, |r| r.reaction.seconds),
        Bar::PeerPlus(0.2),
    );
    let what = "writes where nothing is to do";
    report.row_with(
        "restart",
        what,
        "",
        &each(restarted, |r| r.idle_writes),
        Bar::AtMost(0.0),
    );
}
