//! The app's side of its schema migration: asks for releases through one field and waits for their result.
//!
//! Decides when a phase may be asked for, and when a revision may run on the schema. Never decides how
//! or in which order files run, and writes nothing of the migration but `spec.release`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::action::PatchSpec;
use signalbox_common::wire::plan::{Expect, Guard, Test};
use signalbox_common::wire::{Action, LiveObject};
use signalbox_crds::app::AppRelease;
use signalbox_crds::claim::ClaimState;
use signalbox_crds::condition::{ConditionStatus, STALLED};
use signalbox_crds::migration::{DatabaseMigrationStatus, Phase, Release};

use super::resolve::App;
use super::world::Revision;

/// Whether a release is done.
pub(super) enum Gate {
    /// It is; what was relied on stands in the guards.
    Open(Vec<Guard>),
    /// This asks for it.
    Ask(Box<Ask>),
    /// Not yet: a word and a sentence.
    Wait(&'static str, String),
    /// The migration makes no progress without help.
    Stalled(String),
    /// Never: the schema has left the revision behind.
    Refused(String),
}

/// A release to be asked for.
pub(super) struct Ask {
    pub(super) key: String,
    pub(super) occurrence: String,
    pub(super) action: Action,
    pub(super) release: AppRelease,
}

/// The linked migration.
struct Linked<'a> {
    live: &'a LiveObject,
    release: Option<Release>,
    status: DatabaseMigrationStatus,
}

/// Whether the schema is ready for `revision`, which is rolled out beside `base`. `left_at`: when the first
/// revision newer than it came up, from which on contract files count as made for newer ones.
pub(super) fn expand(
    app: &App<'_>,
    revision: &Revision<'_>,
    base: Option<&Revision<'_>>,
    left_at: Option<Timestamp>,
) -> Gate {
    let linked = match linked(app) {
        Ok(Some(linked)) => linked,
        Ok(None) => return Gate::Open(Vec::new()),
        Err(gate) => return gate,
    };
    let older = base.is_some_and(|base| is_older(revision, base));
    let left = left_at.filter(|_| older);
    if let Some(refused) = left.and_then(|since| refusal(&linked, since)) {
        return Gate::Refused(refused);
    }
    if let Some(gate) = lacks(app, &linked) {
        return gate;
    }
    let wanted = Release {
        phase: Phase::Expand,
        revision: revision.hash.clone(),
    };
    if linked.release.as_ref() != Some(&wanted) {
        return Gate::Ask(ask(app, &linked, wanted));
    }
    if older && is_working(&linked) {
        let what = format!(
            "{} ends a step of the newer revision first",
            linked.live.name
        );
        return Gate::Wait("MigrationRunning", what);
    }
    reached(&linked, &wanted)
}

/// Whether the contract phase for the promoted `revision` is done, or is not ours to ask for.
pub(super) fn contract(app: &App<'_>, revision: &str) -> Gate {
    let linked = match linked(app) {
        Ok(Some(linked)) => linked,
        Ok(None) => return Gate::Open(Vec::new()),
        Err(gate) => return gate,
    };
    if linked.live.at("/spec/contract").and_then(Value::as_str) == Some("Manual") {
        return Gate::Open(Vec::new());
    }
    let wanted = Release {
        phase: Phase::Contract,
        revision: revision.to_owned(),
    };
    if linked.release.as_ref() != Some(&wanted) {
        return Gate::Ask(ask(app, &linked, wanted));
    }
    reached(&linked, &wanted)
}

/// Whether nothing is released any more for another revision than the one that is gone back to.
pub(super) fn withdraw(app: &App<'_>, revision: &str) -> Gate {
    // Whatever is wrong with the migration: it must not keep the old revision from its capacity.
    let Ok(Some(linked)) = linked(app) else {
        return Gate::Open(Vec::new());
    };
    match &linked.release {
        None => Gate::Open(Vec::new()),
        Some(release) if release.revision == revision => {
            if is_observed(&linked) {
                return Gate::Open(vec![guard(&linked, release)]);
            }
            Gate::Wait(
                "Withdrawing",
                format!("{} takes note of the withdrawal", linked.live.name),
            )
        }
        Some(_) => {
            let wanted = Release {
                phase: Phase::Expand,
                revision: revision.to_owned(),
            };
            Gate::Ask(ask(app, &linked, wanted))
        }
    }
}

/// The migration that the spec names; none if it names none.
fn linked<'a>(app: &App<'a>) -> Result<Option<Linked<'a>>, Gate> {
    let Some(migrations) = &app.spec.migrations else {
        return Ok(None);
    };
    let name = &migrations.name;
    let kind = Kind::DatabaseMigration.as_str();
    let live = app
        .seen
        .linked
        .iter()
        .find(|live| live.kind == kind && &live.name == name);
    let Some(live) = live.filter(|live| live.deleted_at.is_none()) else {
        return Err(Gate::Wait(
            "MigrationMissing",
            format!("there is no {kind} {name}"),
        ));
    };
    if live.at("/spec/app").and_then(Value::as_str) != Some(app.name()) {
        let why = format!("spec.app of {kind} {name} does not name this app");
        return Err(Gate::Wait("MigrationNotOurs", why));
    }
    let parse = |pointer: &str| live.at(pointer).cloned().unwrap_or(Value::Null);
    Ok(Some(Linked {
        live,
        release: serde_json::from_value(parse("/spec/release")).ok(),
        status: serde_json::from_value(parse("/status")).unwrap_or_default(),
    }))
}

/// The release that stands in the migration: it was asked for, also by a plan that did not live to tell it.
pub(super) fn asked(app: &App<'_>) -> Option<AppRelease> {
    let linked = linked(app).ok()??;
    let Release { phase, revision } = linked.release?;
    Some(AppRelease {
        migration: linked.live.name.clone(),
        revision,
        phase,
    })
}

/// Waits for a file that the release needs.
fn lacks(app: &App<'_>, linked: &Linked<'_>) -> Option<Gate> {
    let needed = app.spec.migrations.as_ref()?.requires.as_ref()?;
    let files = linked.live.at("/spec/files").and_then(Value::as_array);
    let mut names = files
        .into_iter()
        .flatten()
        .filter_map(|file| file.get("name")?.as_str());
    let prefix = format!("V{needed}__");
    if names.any(|name| name.starts_with(&prefix)) {
        return None;
    }
    let why = format!("{} has no file of version {needed} yet", linked.live.name);
    Some(Gate::Wait("MigrationOutdated", why))
}

/// Whether `revision` existed before `other`. To the second, as the API server tells it: in doubt it did.
pub(super) fn is_older(revision: &Revision<'_>, other: &Revision<'_>) -> bool {
    let (own, other) = (revision.created_at(), other.created_at());
    own.is_some() && own <= other
}

/// Why the schema has left an older revision behind, if it has: a contract file ran since a newer one existed.
fn refusal(linked: &Linked<'_>, since: Timestamp) -> Option<String> {
    let done = linked
        .status
        .applied
        .iter()
        .find(|file| file.phase == Phase::Contract && file.applied_at > since)?;
    Some(format!(
        "{} of {} is applied: the older revision could not live with it",
        done.name, linked.live.name
    ))
}

fn is_working(linked: &Linked<'_>) -> bool {
    linked
        .status
        .claims
        .values()
        .any(|claim| match claim.state {
            // What has succeeded is about to be recorded as applied.
            ClaimState::Running | ClaimState::Ambiguous | ClaimState::Succeeded => true,
            ClaimState::Failed | ClaimState::Cancelled => false,
        })
}

fn is_observed(linked: &Linked<'_>) -> bool {
    linked.status.observed_generation >= linked.live.generation.unwrap_or(0)
}

fn reached(linked: &Linked<'_>, wanted: &Release) -> Gate {
    let done = linked.status.released.as_ref();
    if is_observed(linked)
        && done.is_some_and(|d| d.revision == wanted.revision && d.phase >= wanted.phase)
    {
        return Gate::Open(vec![guard(linked, wanted)]);
    }
    let stalled = linked
        .status
        .conditions
        .iter()
        .find(|c| c.type_ == STALLED && c.status == ConditionStatus::True);
    if let Some(stalled) = stalled.filter(|_| is_observed(linked)) {
        let name = &linked.live.name;
        return Gate::Stalled(format!(
            "migration {name}: {}: {}",
            stalled.reason, stalled.message
        ));
    }
    let phase = match wanted.phase {
        Phase::Expand => "expand",
        Phase::Contract => "contract",
    };
    Gate::Wait(
        "Migrating",
        format!("{phase} files of {} run", linked.live.name),
    )
}

/// Holds while the release is the one relied on.
fn guard(linked: &Linked<'_>, release: &Release) -> Guard {
    let expect = |pointer: &str, test: Test| Expect {
        pointer: pointer.to_owned(),
        test,
    };
    Guard {
        kind: Kind::DatabaseMigration.as_str().to_owned(),
        name: linked.live.name.clone(),
        uid: linked.live.uid.clone(),
        expect: vec![
            expect(
                "/spec/release/revision",
                Test::Equals(json!(release.revision)),
            ),
            expect(
                "/status/observedGeneration",
                Test::AtLeast(linked.live.generation.unwrap_or(0)),
            ),
        ],
    }
}

fn ask(app: &App<'_>, linked: &Linked<'_>, wanted: Release) -> Box<Ask> {
    let live = linked.live;
    let seen = live.at("/spec/release").cloned().unwrap_or(Value::Null);
    let word = match wanted.phase {
        Phase::Expand => "expand",
        Phase::Contract => "contract",
    };
    let patch = PatchSpec {
        kind: Kind::DatabaseMigration,
        name: live.name.clone(),
        uid: live.uid.clone(),
        resource_version: live.resource_version.clone(),
        replaces: BTreeMap::from([("/spec/release".to_owned(), seen)]),
        spec: json!({ "release": wanted }),
        annotations: BTreeMap::new(),
    };
    let started = app
        .status
        .rollout
        .as_ref()
        .map(|r| r.started_at.to_string())
        .unwrap_or_default();
    Box::new(Ask {
        key: format!("release/{}/{}", Kind::DatabaseMigration, live.name),
        occurrence: format!("{word}/{}/{started}", wanted.revision),
        action: Action::PatchSpec(patch),
        release: AppRelease {
            migration: live.name.clone(),
            revision: wanted.revision,
            phase: wanted.phase,
        },
    })
}
