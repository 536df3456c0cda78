//! The block above the tree: names, status, rollout, images, replicas.
//!
//! Decides its lines; never judges an object ([`Standing`] does).

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use signalbox_crds::app::{RolloutState, Strategy};
use signalbox_crds::migration::Phase;
use signalbox_crds::names::LABEL_REVISION;
use signalbox_crds::{DatabaseMigration, PortfolioApp};

use super::Standing;
use super::app::{image_of, role_of};
use crate::paint::Painter;

/// Column at which values stand.
const WIDTH: usize = 17;

fn field(name: &str, value: &str) -> String {
    format!("{name:<WIDTH$}{value}").trim_end().to_owned()
}

fn standing_lines(standing: &Standing, painter: Painter) -> Vec<String> {
    let (tone, signed) = standing.signed();
    let mut lines = vec![field("Status:", &painter.paint(tone, &signed))];
    if !standing.message.is_empty() {
        lines.push(field("Message:", &standing.message));
    }
    lines
}

/// The block of an app.
pub(super) fn app(
    app: &PortfolioApp,
    deployments: &[Deployment],
    pods: &[Pod],
    painter: Painter,
) -> Vec<String> {
    let name = app.metadata.name.as_deref().unwrap_or_default();
    let mut lines = vec![
        field("Name:", name),
        field(
            "Namespace:",
            app.metadata.namespace.as_deref().unwrap_or_default(),
        ),
    ];
    lines.extend(standing_lines(&Standing::of_app(app), painter));
    lines.extend(rollout(app, deployments));
    lines.extend(images(app, deployments));
    lines.extend(replicas(app, deployments, pods));
    if let Some(why) = app
        .status
        .as_ref()
        .and_then(|status| status.last_decision.as_ref())
    {
        lines.push(field(
            "Last decision:",
            &format!("{} ({}): {}", why.action, why.actor, why.reason),
        ));
    }
    lines
}

fn rollout(app: &PortfolioApp, deployments: &[Deployment]) -> Vec<String> {
    let spec = &app.spec.rollout;
    let (name, steps) = match spec.strategy {
        // Promotion is the last step.
        Strategy::Canary => ("Canary", spec.steps.len().max(1).saturating_add(1)),
        Strategy::Rolling => ("Rolling", 4),
    };
    let mut lines = vec![field("Strategy:", name)];
    let Some(rollout) = app
        .status
        .as_ref()
        .and_then(|status| status.rollout.as_ref())
    else {
        return lines;
    };
    let step = usize::try_from(rollout.step).unwrap_or(0);
    let (step, set) = match rollout.state {
        RolloutState::Migrating => (0, 0),
        RolloutState::Progressing => (step.saturating_add(1).min(steps), rollout.weight),
        RolloutState::Promoted | RolloutState::Contracting | RolloutState::Completed => {
            (steps, 100)
        }
        RolloutState::RollingBack | RolloutState::RolledBack => (step.min(steps), 0),
    };
    lines.push(field("  State:", &format!("{:?}", rollout.state)));
    lines.push(field("  Step:", &format!("{step}/{steps}")));
    lines.push(field("  SetWeight:", &set.to_string()));
    lines.push(field(
        "  ActualWeight:",
        &actual_weight(&rollout.revision, deployments).to_string(),
    ));
    lines
}

/// Share of the ready pods that are of `revision`, in percent.
fn actual_weight(revision: &str, deployments: &[Deployment]) -> i64 {
    let ready = |of: Option<&str>| -> i64 {
        deployments
            .iter()
            .filter(|d| of.is_none_or(|of| label(d.metadata.labels.as_ref()) == Some(of)))
            .map(|d| {
                i64::from(
                    d.status
                        .as_ref()
                        .and_then(|s| s.ready_replicas)
                        .unwrap_or(0),
                )
            })
            .sum()
    };
    let all = ready(None);
    if all == 0 {
        0
    } else {
        (ready(Some(revision)) * 100 + all / 2) / all
    }
}

fn label(labels: Option<&std::collections::BTreeMap<String, String>>) -> Option<&str> {
    labels?.get(LABEL_REVISION).map(String::as_str)
}

fn images(app: &PortfolioApp, deployments: &[Deployment]) -> Vec<String> {
    let mut with_role: Vec<String> = deployments
        .iter()
        .filter_map(|deployment| {
            let role = role_of(app, label(deployment.metadata.labels.as_ref())?)?;
            Some(format!("{} ({role})", image_of(deployment)?))
        })
        .collect();
    with_role.sort();
    with_role.dedup();
    if with_role.is_empty() {
        with_role.push(app.spec.image.clone());
    }
    with_role
        .iter()
        .enumerate()
        .map(|(index, text)| field(if index == 0 { "Images:" } else { "" }, text))
        .collect()
}

fn replicas(app: &PortfolioApp, deployments: &[Deployment], pods: &[Pod]) -> Vec<String> {
    let sum = |of: &dyn Fn(&Deployment) -> Option<i32>| -> i32 {
        deployments.iter().filter_map(of).sum()
    };
    let newest = app
        .status
        .as_ref()
        .and_then(|status| status.revision.as_deref());
    let updated = deployments
        .iter()
        .filter(|d| newest.is_some() && label(d.metadata.labels.as_ref()) == newest)
        .filter_map(|d| d.status.as_ref()?.replicas)
        .sum::<i32>();
    let current = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .count();
    vec![
        field("Replicas:", ""),
        field("  Desired:", &app.spec.replicas.to_string()),
        field("  Current:", &current.to_string()),
        field("  Updated:", &updated.to_string()),
        field(
            "  Ready:",
            &sum(&|d| d.status.as_ref()?.ready_replicas).to_string(),
        ),
        field(
            "  Available:",
            &sum(&|d| d.status.as_ref()?.available_replicas).to_string(),
        ),
    ]
}

/// The block of a migration.
pub(super) fn migration(migration: &DatabaseMigration, painter: Painter) -> Vec<String> {
    let status = migration.status.clone().unwrap_or_default();
    let mut lines = vec![
        field(
            "Name:",
            migration.metadata.name.as_deref().unwrap_or_default(),
        ),
        field(
            "Namespace:",
            migration.metadata.namespace.as_deref().unwrap_or_default(),
        ),
    ];
    lines.extend(standing_lines(&Standing::of_migration(migration), painter));
    let target = &migration.spec.target.url_from;
    lines.push(field(
        "Target:",
        &format!("Secret {}, key {}", target.name, target.key),
    ));
    lines.push(field(
        "App:",
        migration
            .spec
            .app
            .as_deref()
            .unwrap_or("none: everything runs at once"),
    ));
    let release = migration.spec.release.as_ref();
    lines.push(field(
        "Release:",
        &release.map_or_else(
            || "none".to_owned(),
            |release| format!("{} for revision {}", phase(release.phase), release.revision),
        ),
    ));
    lines.push(field(
        "Version:",
        status.version.as_deref().unwrap_or("none"),
    ));
    lines.push(field(
        "Files:",
        &format!(
            "{} applied, {} pending",
            status.applied.len(),
            status.pending
        ),
    ));
    if let Some(why) = &status.last_decision {
        lines.push(field(
            "Last decision:",
            &format!("{} ({}): {}", why.action, why.actor, why.reason),
        ));
    }
    lines
}

/// The word for a phase.
pub(super) const fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Expand => "expand",
        Phase::Contract => "contract",
    }
}
