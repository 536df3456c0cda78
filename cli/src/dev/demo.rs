//! The main job from apply to a rolled back release, each step checked in the real thing.
//!
//! Decides what is shown and checked; the first check that does not hold ends it.

use std::time::Duration;

use signalbox_common::bus::rights::Role;
use signalbox_common::clock;
use signalbox_crds::app::{PortfolioAppStatus, RolloutState};

use super::checks::{
    Serving, app_until, applied_versions, columns, event_reasons, migration_until, names, query,
    same, trigger_image, wrong,
};
use super::setup::World;
use super::{Voice, example};
use crate::error::CliError;
use crate::ledger::{self, Query};
use crate::replay::compare;
use crate::tree::Standing;

/// How long one release may take.
const RELEASE: Duration = Duration::from_mins(1);
/// The collector of garbage learns of new kinds every half minute.
const COLLECTED: Duration = Duration::from_secs(90);

/// Runs all steps.
pub(super) async fn run(world: &World, voice: &Voice) -> Result<(), CliError> {
    let first = first_release(world, voice).await?;
    let serving = Serving::watch(world);
    let second = second_release(world, voice, &first).await?;
    bad_release(world, voice, &second).await?;
    triggered_release(world, voice, &second).await?;
    served_throughout(voice, &serving)?;
    drop(serving);
    record(world, voice).await?;
    deletion(world, voice).await
}

fn stable(status: &PortfolioAppStatus) -> String {
    status.stable.clone().unwrap_or_default()
}

/// Ready, and the rollout of `spec.image` is over.
fn completed(app: &signalbox_crds::PortfolioApp, status: &PortfolioAppStatus) -> bool {
    Standing::of_app(app).ready
        && status.stable.is_some()
        && status.stable == status.revision
        && status
            .rollout
            .as_ref()
            .is_none_or(|rollout| rollout.state == RolloutState::Completed)
}

async fn first_release(world: &World, voice: &Voice) -> Result<String, CliError> {
    voice.chapter("kubectl apply -f deploy/examples/shop.yaml");
    example::apply(world).await?;
    let app = app_until(world, "first release", RELEASE, completed).await?;
    let revision = stable(&app.status.unwrap_or_default());
    voice.good(&format!(
        "ready: revision {revision} with {} pods",
        example::REPLICAS
    ));
    for kind in ["configmap", "pvc", "service", "deployment", "hpa", "pdb"] {
        let mut found = names(world, kind).await?;
        found.retain(|name| name.starts_with(example::APP));
        if found.is_empty() {
            return Err(wrong("first release", format!("there is no {kind}")));
        }
        voice.good(&format!("{kind}: {}", found.join(", ")));
    }
    same(
        "expand migration",
        &applied_versions(world).await?,
        &vec!["1".to_owned()],
    )?;
    let customers = query(world, "SELECT customer FROM orders ORDER BY id").await?;
    same(
        "expand migration",
        &customers,
        &vec!["Ada".to_owned(), "Grace".to_owned()],
    )?;
    voice.good("PostgreSQL: V1 is applied, once; table `orders` has its two rows");
    Ok(revision)
}

async fn second_release(world: &World, voice: &Voice, first: &str) -> Result<String, CliError> {
    voice.chapter(
        "kubectl apply -f deploy/examples/shop-release-2.yaml: first its files, then its image",
    );
    example::apply_second_files(world).await?;
    let step = "canary";
    migration_until(world, step, RELEASE, |status| status.applied.len() == 2).await?;
    same(
        step,
        &applied_versions(world).await?,
        &["1", "2"].map(str::to_owned).to_vec(),
    )?;
    voice.good("V2 (expand) is applied; V3 (contract) waits: the old revision needs its column");
    example::apply_second_app(world).await?;
    let half = |_: &signalbox_crds::PortfolioApp, status: &PortfolioAppStatus| {
        status.rollout.as_ref().is_some_and(|rollout| {
            rollout.weight >= 25
                && rollout.step_reached_at.is_some()
                && rollout.state == RolloutState::Progressing
        })
    };
    app_until(world, step, RELEASE, half).await?;
    let before = columns(world).await?;
    if !before.contains(&"buyer".to_owned()) || !before.contains(&"customer".to_owned()) {
        return Err(wrong(
            step,
            format!("while both revisions serve, `orders` has {before:?}"),
        ));
    }
    voice.good(
        "canary pods serve beside the old ones; `orders` has both the old and the new column",
    );
    voice.show(
        &world
            .target
            .picture()
            .await?
            .lines(clock::now(), voice.painter()),
    );
    let app = app_until(world, "promotion", RELEASE, completed).await?;
    let revision = stable(&app.status.unwrap_or_default());
    if revision == first {
        return Err(wrong(
            "promotion",
            "the stable revision is still the first one",
        ));
    }
    voice.good(&format!(
        "promoted: revision {revision} ({})",
        example::SECOND_IMAGE
    ));
    contract(world, voice).await?;
    Ok(revision)
}

async fn contract(world: &World, voice: &Voice) -> Result<(), CliError> {
    let versions = ["1", "2", "3"].map(str::to_owned).to_vec();
    same(
        "contract migration",
        &applied_versions(world).await?,
        &versions,
    )?;
    let after = columns(world).await?;
    same(
        "contract migration",
        &after,
        &vec!["buyer".to_owned(), "id".to_owned()],
    )?;
    voice.good(
        "PostgreSQL: V2 (expand) before the canary, V3 (contract) after the promotion, each once",
    );
    Ok(())
}

async fn bad_release(world: &World, voice: &Voice, second: &str) -> Result<(), CliError> {
    voice.chapter(&format!(
        "kubectl patch: image {}, whose pods never become ready",
        example::BAD_IMAGE
    ));
    example::set_image(world, example::BAD_IMAGE).await?;
    let step = "rollback";
    let app = app_until(world, step, RELEASE, |_, status| {
        status
            .rollout
            .as_ref()
            .is_some_and(|rollout| rollout.state == RolloutState::RolledBack)
    })
    .await?;
    let standing = Standing::of_app(&app);
    let status = app.status.unwrap_or_default();
    same(step, &stable(&status), &second.to_owned())?;
    let why = status
        .rollout
        .and_then(|rollout| rollout.message)
        .unwrap_or(standing.message);
    voice.good(&format!(
        "rolled back by itself, revision {second} serves: {why}"
    ));
    let reasons = event_reasons(world).await?;
    if !reasons
        .iter()
        .any(|reason| reason == "ProgressDeadlineExceeded")
    {
        return Err(wrong(
            step,
            format!("no Kubernetes Event tells of it: {reasons:?}"),
        ));
    }
    voice.good(&format!("Kubernetes Events: {}", reasons.join(", ")));
    Ok(())
}

async fn triggered_release(world: &World, voice: &Voice, second: &str) -> Result<(), CliError> {
    voice.chapter(&format!(
        "a CloudEvent over NATS asks for image {}",
        example::FOURTH_IMAGE
    ));
    let answer = trigger_image(world, "demo-1", example::FOURTH_IMAGE).await?;
    answered("trigger", &answer, "applied")?;
    voice.good(&format!("answered: {answer}"));
    let app = app_until(world, "trigger", RELEASE, |app, status| {
        app.spec.image == example::FOURTH_IMAGE && completed(app, status)
    })
    .await?;
    let revision = stable(&app.status.unwrap_or_default());
    if revision == second {
        return Err(wrong(
            "trigger",
            "the stable revision is still the former one",
        ));
    }
    voice.good(&format!(
        "promoted: revision {revision} ({})",
        example::FOURTH_IMAGE
    ));
    voice.show(
        &world
            .target
            .picture()
            .await?
            .lines(clock::now(), voice.painter()),
    );
    let again = trigger_image(world, "demo-1", example::BAD_IMAGE).await?;
    answered("repeated trigger", &again, "no-op")?;
    voice.good(&format!(
        "the same CloudEvent once more is a recorded no-op: {again}"
    ));
    let app = app_until(world, "repeated trigger", RELEASE, |_, _| true).await?;
    same(
        "repeated trigger",
        &app.spec.image,
        &example::FOURTH_IMAGE.to_owned(),
    )
}

fn answered(step: &str, answer: &str, wanted: &str) -> Result<(), CliError> {
    let read: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    let result = read
        .get("result")
        .and_then(serde_json::Value::as_str)
        .unwrap_or(answer);
    same(step, &result, &wanted)
}

fn served_throughout(voice: &Voice, serving: &Serving) -> Result<(), CliError> {
    let least = serving.least();
    if least == i64::MAX {
        return Err(wrong("capacity", "no pod was ever counted"));
    }
    if least < example::REPLICAS {
        return Err(wrong(
            "capacity",
            format!(
                "only {least} of {} pods were available at one time",
                example::REPLICAS
            ),
        ));
    }
    voice.good(&format!(
        "never fewer than {least} pods were available during all of it"
    ));
    Ok(())
}

async fn record(world: &World, voice: &Voice) -> Result<(), CliError> {
    voice.chapter("the ledger: every event planned again, with today's rules");
    let entries = ledger::read(&world.bus(&Role::Reader), &Query::default()).await?;
    let report = compare(&entries);
    if !report.is_clean() {
        voice.show(&crate::cmd::replay::lines(&report));
        return Err(wrong("replay", report.summary()));
    }
    if report.same == 0 {
        return Err(wrong("replay", "the ledger has no plans"));
    }
    voice.good(&format!("replay: {}", report.summary()));
    Ok(())
}

/// Waits until nothing is left of what the app owned; its volume apart.
async fn all_gone(world: &World) -> Result<(), CliError> {
    let owned = format!("-lsignalbox.dev/owner={}", example::APP);
    let kinds = "deployment,service,configmap,horizontalpodautoscaler,poddisruptionbudget";
    let arguments = ["get", kinds, "-n", example::NAMESPACE, &owned, "-oname"];
    let deadline = tokio::time::Instant::now() + COLLECTED;
    loop {
        let left = world.cluster.kubectl(&arguments).await?;
        if left.trim().is_empty() {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            return Err(wrong("deletion", format!("still there: {left}")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn deletion(world: &World, voice: &Voice) -> Result<(), CliError> {
    voice.chapter("kubectl delete papp shop");
    let arguments = [
        "delete",
        "papp",
        example::APP,
        "-n",
        example::NAMESPACE,
        "--wait=true",
        "--timeout=30s",
    ];
    world.cluster.kubectl(&arguments).await?;
    all_gone(world).await?;
    let volumes = names(world, "pvc").await?;
    same("the volume is kept", &volumes.len(), &1)?;
    voice.good(&format!(
        "gone with all it owned; kept by its policy: pvc {}",
        volumes.join(", ")
    ));
    voice.good("the demo is through, everything is as it should be");
    Ok(())
}
