//! From a child as it should be to the action that brings it there.
//!
//! Decides create, apply, replace or nothing, and whose a name is. Never touches what is not ours.

use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::{ApplyChild, ApplyMode, DeleteChild};
use signalbox_common::wire::{Action, LiveObject};

use super::children::Desired;
use super::satisfied::{Fit, fit};
use super::world::World;

/// What is to be done about a child.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// It is as it should be.
    Nothing,
    /// This brings it there.
    Do(Box<Action>),
    /// This takes what is nobody's any more, and brings it there.
    Adopt(Box<Action>),
    /// It is going away; another takes its place afterwards.
    Wait(String),
    /// Something with its name belongs to somebody else.
    Taken(String),
}

/// Compares a child with what there is.
pub(super) fn ensure(world: &World<'_>, uid: &str, desired: &Desired) -> Step {
    let Some(live) = world.child(desired.kind, &desired.name) else {
        return Step::Do(apply(desired, ApplyMode::Create));
    };
    let what = format!("{} {}", desired.kind, desired.name);
    if live.deleted_at.is_some() {
        return Step::Wait(format!("{what} is being deleted"));
    }
    let step = match (live.is_owned_by(uid), world.is_left_behind(live)) {
        (true, _) => Step::Do,
        (false, true) => Step::Adopt,
        (false, false) => {
            return Step::Taken(format!("{what} exists and does not belong to this app"));
        }
    };
    let uid = live.uid.clone();
    let resource_version = live.resource_version.clone();
    let seen = || Some(live.basis());
    match fit(desired.kind, &desired.object, live) {
        Fit::Satisfied => Step::Nothing,
        Fit::Apply => step(apply(
            desired,
            ApplyMode::Apply {
                uid,
                resource_version,
                seen: seen(),
            },
        )),
        Fit::Replace => step(apply(
            desired,
            ApplyMode::Replace {
                uid,
                resource_version,
                seen: seen(),
            },
        )),
    }
}

fn apply(desired: &Desired, mode: ApplyMode) -> Box<Action> {
    Box::new(Action::ApplyChild(ApplyChild {
        kind: desired.kind,
        name: desired.name.clone(),
        mode,
        object: desired.object.clone(),
    }))
}

/// Key of the action that takes a child which an earlier app left behind: not the creation that found it.
pub(super) fn adopt_key(desired: &Desired) -> String {
    format!("adopt/{}/{}", desired.kind, desired.name)
}

/// Key of the action that deletes a child.
pub(super) fn delete_key(live: &LiveObject) -> String {
    format!("delete/{}/{}", live.kind, live.name)
}

/// Deletes what was seen, and nothing else of the name.
pub(super) fn delete(live: &LiveObject) -> Option<Action> {
    Some(Action::DeleteChild(DeleteChild {
        kind: ChildKind::parse(&live.kind)?,
        name: live.name.clone(),
        uid: live.uid.clone(),
        resource_version: live.resource_version.clone(),
        seen: Some(live.basis()),
    }))
}
