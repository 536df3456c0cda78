//! What the app asks of its migration: expand before a revision, contract after its promotion, or back.
//!
//! Decides what the release must be and whether it is there; never runs or orders files.

use signalbox_crds::app::RolloutState;
use signalbox_crds::migration::Phase;

use super::Course;
use crate::portfolio::view::{Migration, View};

/// Whether the expand files for `revision` are applied; if not, says what is waited for.
pub(super) fn expanded(view: &View<'_>, course: &mut Course, revision: &str) -> bool {
    let Some(migrations) = &view.spec.migrations else {
        return true;
    };
    if let Some(rollout) = course.rollout.as_mut() {
        rollout.state = RolloutState::Migrating;
    }
    let name = &migrations.name;
    let Some(migration) = ours(view, course) else {
        return false;
    };
    if let Some(version) = migrations
        .requires
        .as_deref()
        .filter(|v| !migration.knows(v))
    {
        course.say(
            "Migrating",
            "MigrationPending",
            format!("DatabaseMigration {name} has no file of version {version} yet"),
        );
        return false;
    }
    course.release = Some((Phase::Expand, revision.to_owned()));
    if released(&migration, Phase::Expand, revision) {
        return true;
    }
    tell(course, &migration, name, "expand");
    false
}

/// Whether contract files for `revision` are still to be run; asks for them.
pub(super) fn contracts(view: &View<'_>, course: &mut Course, revision: &str) -> bool {
    if view.spec.migrations.is_none() || view.spec.paused {
        return false;
    }
    let Some(migration) = ours(view, course) else {
        return false;
    };
    if migration.manual {
        return false;
    }
    course.release = Some((Phase::Contract, revision.to_owned()));
    !released(&migration, Phase::Contract, revision)
}

/// Whether the migration has no release beyond what `stable` may have; if not, takes it back.
pub(super) fn withdrawn(view: &View<'_>, course: &mut Course, stable: &str) -> bool {
    let Some(migration) = view.migration() else {
        return true;
    };
    if migration.app.as_deref() != Some(view.name()) {
        return true;
    }
    course.release = Some((Phase::Expand, stable.to_owned()));
    migration
        .release
        .as_ref()
        .is_none_or(|r| r.revision == stable)
}

fn ours<'a>(view: &View<'a>, course: &mut Course) -> Option<Migration<'a>> {
    let name = view
        .spec
        .migrations
        .as_ref()
        .map(|m| m.name.clone())
        .unwrap_or_default();
    let Some(migration) = view.migration() else {
        course.say(
            "Migrating",
            "MigrationMissing",
            format!("there is no DatabaseMigration {name} in this namespace"),
        );
        return None;
    };
    if migration.app.as_deref() != Some(view.name()) {
        course.say(
            "Migrating",
            "MigrationNotOurs",
            format!("DatabaseMigration {name} does not name this app in spec.app"),
        );
        return None;
    }
    Some(migration)
}

fn released(migration: &Migration<'_>, phase: Phase, revision: &str) -> bool {
    let current =
        migration.status.observed_generation == migration.object.generation.unwrap_or_default();
    let asked = migration
        .release
        .as_ref()
        .is_some_and(|r| r.revision == revision && r.phase >= phase);
    let done = migration
        .status
        .released
        .as_ref()
        .is_some_and(|r| r.revision == revision && r.phase >= phase);
    current && asked && done
}

fn tell(course: &mut Course, migration: &Migration<'_>, name: &str, word: &str) {
    let stalled = migration.status.conditions.iter().find(|c| {
        c.type_ == "Stalled" && c.status == signalbox_crds::condition::ConditionStatus::True
    });
    if let Some(condition) = stalled {
        course.stalled = true;
        course.say(
            "Stalled",
            "MigrationStalled",
            format!("DatabaseMigration {name}: {}", condition.message),
        );
    } else {
        course.say(
            "Migrating",
            "Migrating",
            format!("DatabaseMigration {name}: {word} files run"),
        );
    }
}
