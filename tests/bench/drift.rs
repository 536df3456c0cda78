//! Children that somebody deletes: until each is there again.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use futures::StreamExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::bar::Bar;
use crate::bench::{Bench, attempt};
use crate::contender::{Side, each, operators};
use crate::field::{Field, app_of, done, name};
use crate::figures::percentile;
use crate::fleet::{IN_FLIGHT, Took, create};
use crate::needed::Known;
use crate::options::Raws;
use crate::report::Report;

/// What it came to.
struct Restored {
    took: Took,
    /// Seconds from each deletion's answer until the child is seen again.
    each: Vec<f64>,
    writes: f64,
}

pub(crate) async fn run(bench: &Bench, raws: Raws, report: &mut Report) {
    let mut restored = Vec::new();
    for side in bench.sides(raws) {
        match attempt(measure(bench, side)).await {
            Ok(done) => restored.push((side, done)),
            Err(reason) => report.missing("drift", side, reason),
        }
    }
    for (side, done) in &restored {
        let mut took = done.took.detail();
        let each: Vec<f64> = done.each.iter().map(|s| s * 1000.0).collect();
        took["restoredMs"] = json!(each);
        report.detail(&format!("drift {}", side.name()), took);
    }
    let what = format!("{} Deployments deleted and restored", bench.options.deleted);
    report.row_with(
        "drift",
        what,
        "s",
        &each(&restored, |r| r.took.seconds),
        Bar::TimesRaw(1.0),
    );
    let slow = each(&restored, |r| percentile(&r.each, 95).unwrap_or(0.0));
    report.row_with("drift", "restored, p95", "s", &slow, Bar::AtMost(5.0));
    report.never_kept_if(true);
    let deleted = bench.options.deleted as f64;
    report.row(
        "drift",
        "writes per child",
        "",
        &operators(&restored, |r| r.writes / deleted),
    );
}

async fn measure(bench: &Bench, side: Side) -> Result<Restored, String> {
    let field = bench.field("drift", side).await?;
    let (_, known) = create(bench, &field, 0..bench.options.apps).await;
    field.quiet().await;
    let api = field.objects.api("deployment");
    let of_fleet: HashSet<String> = (0..bench.options.deleted).map(name).collect();
    let children = api.list(&ListParams::default()).await.expect("a list");
    let children: Vec<(String, String)> = children
        .into_iter()
        .filter_map(|child| Some((child.metadata.name?, child.metadata.uid?)))
        .filter(|(child, _)| of_fleet.contains(app_of(child)))
        .collect();
    if children.len() < of_fleet.len() {
        return Err(format!(
            "{} Deployments of {} apps",
            children.len(),
            of_fleet.len()
        ));
    }
    let mut known: HashMap<String, Known> = (0..).map(name).zip(known).collect();
    let with_known: Vec<_> = children
        .iter()
        .map(|(child, _)| (child, known.remove(app_of(child))))
        .collect();
    let mut eye = field.eye("deployment").await;
    let (mark, before, started) = (field.audit.mark(), field.usage(), Instant::now());
    let deleted: HashMap<String, Instant> = futures::stream::iter(with_known)
        .map(|(child, known)| {
            let (api, field) = (&api, &field);
            async move {
                let deleted = api.delete(child, &DeleteParams::default()).await;
                deleted.expect("a child can be deleted");
                let at = Instant::now();
                if let (true, Some(mut known)) = (field.side.raw, known) {
                    restore(bench, field, &mut known).await;
                }
                (child.clone(), at)
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    let mut gone: HashMap<String, String> = children.into_iter().collect();
    let (mut each, mut last) = (Vec::new(), started);
    while !gone.is_empty() {
        let back = |name: &str, uid: &str| gone.get(name).is_some_and(|old| old != uid);
        let seen = eye.until(|seen| back(&seen.name, &seen.uid)).await;
        gone.remove(&seen.name);
        last = seen.at;
        let since = deleted.get(&seen.name).expect("it was deleted");
        // Its event may come before the answer to the deletion.
        each.push(seen.at.saturating_duration_since(*since).as_secs_f64());
    }
    let took = Took::since(&field, &before, (last - started).as_secs_f64());
    field.quiet().await;
    Ok(Restored {
        took,
        each,
        writes: done(&field.writes_since(mark)) as f64,
    })
}

/// The needed write of a deleted Deployment: that which made it.
async fn restore(bench: &Bench, field: &Field, known: &mut Known) {
    let needed = bench.needed(field.side);
    let makes = |write: &&crate::writes::Write| write.path.contains("/deployments/");
    let writes: Vec<_> = needed.create.iter().filter(makes).cloned().collect();
    known.forget("/deployments/");
    needed.serve(&field.writer, &writes, known).await;
}
