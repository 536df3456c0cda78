//! The tree of an app: revisions, their Deployments and pods, and the migration.
//!
//! Decides order and wording; the newest revision stands first.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use signalbox_crds::app::RolloutState;
use signalbox_crds::names::LABEL_REVISION;
use signalbox_crds::{DatabaseMigration, PortfolioApp};

use super::{Standing, branch, migration, node, title};
use crate::paint::{Row, Tone, age, sign};

/// All rows of the tree.
pub(super) fn rows(
    app: &PortfolioApp,
    deployments: &[Deployment],
    pods: &[Pod],
    migrations: Option<&DatabaseMigration>,
    now: Timestamp,
) -> Vec<Row> {
    let name = app.metadata.name.as_deref().unwrap_or_default();
    let standing = Standing::of_app(app);
    let born = app.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let mut rows = vec![
        title(),
        node(
            format!("⟳ {name}"),
            "PortfolioApp",
            standing.signed(),
            age(born, now),
            String::new(),
        ),
    ];
    let ordered = by_revision(app, deployments);
    for (index, deployment) in ordered.iter().enumerate() {
        let last = index + 1 == ordered.len() && migrations.is_none();
        rows.extend(revision(app, deployment, pods, last, now));
    }
    if let Some(found) = migrations {
        rows.extend(migration::branch_rows(found, now));
    }
    rows
}

/// The revision that is rolled out first, then the stable one, then the others, the youngest first.
fn by_revision<'a>(app: &PortfolioApp, deployments: &'a [Deployment]) -> Vec<&'a Deployment> {
    let mut ordered: Vec<&Deployment> = deployments.iter().collect();
    ordered.sort_by_key(|deployment| {
        let rank = match revision_of(deployment).and_then(|revision| role_of(app, revision)) {
            Some("canary" | "failed") => 0,
            Some("stable") => 1,
            Some(_) | None => 2,
        };
        let born = deployment
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        (rank, std::cmp::Reverse(born))
    });
    ordered
}

fn revision_of(deployment: &Deployment) -> Option<&str> {
    deployment
        .metadata
        .labels
        .as_ref()?
        .get(LABEL_REVISION)
        .map(String::as_str)
}

/// Image of a Deployment's main container.
pub(super) fn image_of(deployment: &Deployment) -> Option<&str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.as_deref()
}

/// What a revision is for the app now; none: an old one.
pub(super) fn role_of(app: &PortfolioApp, revision: &str) -> Option<&'static str> {
    let status = app.status.as_ref()?;
    if status.stable.as_deref() == Some(revision) {
        return Some("stable");
    }
    let rollout = status
        .rollout
        .as_ref()
        .filter(|rollout| rollout.revision == revision)?;
    match rollout.state {
        RolloutState::Migrating
        | RolloutState::Progressing
        | RolloutState::Promoted
        | RolloutState::Contracting => Some("canary"),
        RolloutState::RollingBack | RolloutState::RolledBack => Some("failed"),
        RolloutState::Completed => None,
    }
}

fn revision(
    app: &PortfolioApp,
    deployment: &Deployment,
    pods: &[Pod],
    last: bool,
    now: Timestamp,
) -> Vec<Row> {
    let revision = revision_of(deployment).unwrap_or("unknown");
    let role = role_of(app, revision).unwrap_or("");
    let (start, rest) = branch(last);
    let born = deployment
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    let mut rows = vec![node(
        format!("{start}# revision {revision}"),
        "Revision",
        (Tone::Dim, String::new()),
        age(born, now),
        role.to_owned(),
    )];
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let info = image_of(deployment).unwrap_or_default();
    rows.push(node(
        format!("{rest}└──⧉ {name}"),
        "Deployment",
        health(deployment),
        age(born, now),
        info.to_owned(),
    ));
    let mut own: Vec<&Pod> = pods
        .iter()
        .filter(|pod| is_of(pod, revision, name))
        .collect();
    own.sort_by_key(|pod| pod.metadata.name.clone());
    for (index, pod) in own.iter().enumerate() {
        rows.push(pod_row(
            pod,
            &format!("{rest}   {}", branch(index + 1 == own.len()).0),
            now,
        ));
    }
    rows
}

fn is_of(pod: &Pod, revision: &str, deployment: &str) -> bool {
    let label = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(LABEL_REVISION));
    match label {
        Some(label) => label == revision,
        None => pod
            .metadata
            .name
            .as_deref()
            .is_some_and(|name| name.starts_with(deployment)),
    }
}

fn health(deployment: &Deployment) -> (Tone, String) {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let ready = deployment
        .status
        .as_ref()
        .and_then(|status| status.ready_replicas)
        .unwrap_or(0);
    let phase = match (wanted, ready) {
        (0, 0) => "ScaledDown",
        _ if ready == wanted => "Healthy",
        _ => "Progressing",
    };
    let (glyph, tone) = sign(phase);
    (tone, format!("{glyph} {phase}"))
}

fn pod_row(pod: &Pod, start: &str, now: Timestamp) -> Row {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let born = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let status = pod.status.as_ref();
    let containers = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default();
    let waiting = containers
        .iter()
        .find_map(|c| c.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    let phase = if pod.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else {
        waiting
            .or(status.and_then(|status| status.phase.as_deref()))
            .unwrap_or("Pending")
    };
    let (glyph, tone) = sign(phase);
    let ready = containers.iter().filter(|c| c.ready).count();
    let all = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    node(
        format!("{start}□ {name}"),
        "Pod",
        (tone, format!("{glyph} {phase}")),
        age(born, now),
        format!("ready:{ready}/{all}"),
    )
}
