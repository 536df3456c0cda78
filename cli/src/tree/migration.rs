//! The rows of a migration: its files, each applied, running or pending.
//!
//! Decides order and wording; files stand in the order of the spec.

use jiff::Timestamp;
use signalbox_crds::DatabaseMigration;
use signalbox_crds::claim::{Claim, ClaimState};
use signalbox_crds::migration::{AppliedFile, MigrationFile};

use super::header::phase;
use super::{Standing, branch, node, title};
use crate::paint::{Row, Tone, age, sign};

/// The whole tree of a migration.
pub(super) fn table(migration: &DatabaseMigration, now: Timestamp) -> Vec<Row> {
    let mut rows = vec![title(), own_row(migration, "", now)];
    rows.extend(files(migration, "", now));
    rows
}

/// The last branch of an app's tree.
pub(super) fn branch_rows(migration: &DatabaseMigration, now: Timestamp) -> Vec<Row> {
    let mut rows = vec![own_row(migration, "└──", now)];
    rows.extend(files(migration, "   ", now));
    rows
}

fn own_row(migration: &DatabaseMigration, start: &str, now: Timestamp) -> Row {
    let name = migration.metadata.name.as_deref().unwrap_or_default();
    let born = migration
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    let status = migration.status.clone().unwrap_or_default();
    node(
        format!("{start}⛁ {name}"),
        "DatabaseMigration",
        Standing::of_migration(migration).signed(),
        age(born, now),
        format!(
            "version:{} pending:{}",
            status.version.as_deref().unwrap_or("none"),
            status.pending
        ),
    )
}

fn files(migration: &DatabaseMigration, before: &str, now: Timestamp) -> Vec<Row> {
    let status = migration.status.clone().unwrap_or_default();
    let count = migration.spec.files.len();
    migration
        .spec
        .files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let applied = status
                .applied
                .iter()
                .find(|applied| applied.name == file.name);
            let claim = status.claims.get(&step(&file.name));
            let start = format!("{before}{}", branch(index + 1 == count).0);
            file_row(file, applied, claim, &start, now)
        })
        .collect()
}

/// Key of a file's step in `status.claims`: `migrate-<version>`.
fn step(file: &str) -> String {
    let version = file
        .split("__")
        .next()
        .unwrap_or_default()
        .trim_start_matches('V');
    format!("migrate-{version}")
}

fn file_row(
    file: &MigrationFile,
    applied: Option<&AppliedFile>,
    claim: Option<&Claim>,
    start: &str,
    now: Timestamp,
) -> Row {
    let (state, since, info) = match (applied, claim) {
        (Some(applied), _) => (
            "Applied",
            Some(applied.applied_at),
            format!("{} in {} ms", phase(applied.phase), applied.effect_ms),
        ),
        (None, Some(claim)) => (
            match claim.state {
                ClaimState::Running => "Migrating",
                ClaimState::Succeeded => "Applied",
                ClaimState::Failed => "Failed",
                ClaimState::Cancelled => "Pending",
                ClaimState::Ambiguous => "Ambiguous",
            },
            Some(claim.started_at),
            format!(
                "{}, attempt {} by {}{}",
                phase(file.phase),
                claim.attempt,
                claim.executor,
                claim
                    .message
                    .as_ref()
                    .map(|m| format!(": {m}"))
                    .unwrap_or_default()
            ),
        ),
        (None, None) => ("Waiting", None, phase(file.phase).to_owned()),
    };
    let (glyph, tone): (&str, Tone) = sign(state);
    node(
        format!("{start}≡ {}", file.name),
        "File",
        (tone, format!("{glyph} {state}")),
        age(since, now),
        info,
    )
}
