//! From a course to a plan: children, replicas, releases, deletions and the status behind them.
//!
//! Decides which actions there are and what each comes after; what is held back by a failure is left
//! out with all that depends on it. Never decides the course.

mod ensured;

use jiff::Timestamp;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::Action;
use signalbox_common::wire::action::Scale;

use super::children::apply_key;
use super::resolve::App;
use super::rollout::{self, Course, Size};
use super::status::{self, Told};
use super::world::World;
use crate::draft::{Dependent as _, Draft};
use crate::failure::{Assessment, assess, later};

/// When to look again for a name that somebody else has.
const NAME_TAKEN_WAIT: std::time::Duration = std::time::Duration::from_mins(5);

/// A plan in the making.
struct Drawing<'d, 'a> {
    app: &'d App<'a>,
    world: &'d World<'a>,
    draft: Draft,
    told: Told,
    /// Keys of the children that this plan applies.
    applied: Vec<String>,
    /// Keys of the children whose names are somebody else's.
    taken: Vec<String>,
}

/// The plan for an app that is to live.
pub(super) fn draw(app: &App<'_>) -> Draft {
    let failures = assess(app.seen, app.status.last_failure.as_ref(), app.generation());
    let world = World::of(app.seen, app.object);
    let course = rollout::course(app, &world, &failures, may_turn(app, &world, &failures));
    let told = Told {
        mood: course.mood.clone(),
        ..Told::default()
    };
    let mut drawing = Drawing {
        app,
        world: &world,
        draft: Draft::new(app.uid()),
        told,
        applied: Vec::new(),
        taken: Vec::new(),
    };
    drawing.shared();
    drawing.revisions(&course);
    drawing.serve(&course);
    drawing.sizes(&course.sizes);
    drawing.deletions(&course);
    let mut new = status::after(app, &world, &course);
    if let Some(ask) = course.ask {
        drawing.draft.push(ask.key, &ask.occurrence, ask.action);
    }
    if let Some((occurrence, event)) = course.event {
        let is_good = !event.warning;
        let told = drawing
            .draft
            .push("event", &occurrence, Action::EmitEvent(event));
        if is_good {
            // Nobody is told of a promotion that did not happen.
            told.after(&[apply_key(ChildKind::Service, app.name())]);
        }
    }
    let Drawing {
        mut draft,
        told,
        taken,
        ..
    } = drawing;
    // What is not planned only because its name is taken, or because turning the Service is held back, is wanted all the
    // same: its failures go on counting, so that each try waits longer than the one before.
    let turn = course
        .turn_waits
        .then(|| apply_key(ChildKind::Service, app.name()));
    let wanted: Vec<String> = draft.keys().into_iter().chain(taken).chain(turn).collect();
    drop_held(&mut draft, &failures);
    new.next_wake = [new.next_wake, failures.until, recheck(app, &told)]
        .into_iter()
        .flatten()
        .min();
    status::finish(app, &mut draft, new, told, failures, &wanted);
    draft
}

/// Whether the Service can be turned to another revision now.
fn may_turn(app: &App<'_>, world: &World<'_>, failures: &Assessment) -> bool {
    let live = world.child(ChildKind::Service, app.name());
    let free = live.is_none_or(|live| live.deleted_at.is_none() && live.is_owned_by(app.uid()));
    app.spec.ports.is_empty()
        || (free && !failures.holds(&apply_key(ChildKind::Service, app.name())))
}

/// A name that is taken is looked at again; the same wait planned again is the same time.
fn recheck(app: &App<'_>, told: &Told) -> Option<Timestamp> {
    if told.taken.is_empty() {
        return None;
    }
    let known = app.status.next_wake.filter(|wake| *wake > app.now());
    Some(known.unwrap_or_else(|| later(app.now(), NAME_TAKEN_WAIT)))
}

/// Takes out what a failure holds back, and all that comes after it.
fn drop_held(draft: &mut Draft, failures: &Assessment) {
    let mut dropped: Vec<String> = draft
        .keys()
        .into_iter()
        .filter(|key| failures.holds(key))
        .collect();
    loop {
        let before = dropped.len();
        for action in &draft.actions {
            if !dropped.contains(&action.key)
                && action.after.iter().any(|key| dropped.contains(key))
            {
                dropped.push(action.key.clone());
            }
        }
        if dropped.len() == before {
            break;
        }
    }
    draft
        .actions
        .retain(|action| !dropped.contains(&action.key));
}

impl Drawing<'_, '_> {
    /// Replicas; a Deployment that is written in this plan is scaled in a later one.
    fn sizes(&mut self, sizes: &[Size]) {
        for size in sizes {
            let name = self.app.revision_name(&size.revision);
            let Some(live) = self.world.own(ChildKind::Deployment, &name) else {
                continue;
            };
            if self
                .applied
                .contains(&apply_key(ChildKind::Deployment, &name))
            {
                continue;
            }
            let from = self.world.revision(&size.revision).asked();
            let scale = Scale {
                name: name.clone(),
                uid: live.uid.clone(),
                resource_version: live.resource_version.clone(),
                from,
                to: size.to,
            };
            let occurrence = format!("{}/{from}/{}", live.resource_version, size.to);
            let planned = self.draft.push(
                format!("scale/Deployment/{name}"),
                &occurrence,
                Action::Scale(scale),
            );
            for guard in &size.guards {
                planned.guard(guard.clone());
            }
            // No pod ends before the Service has left its revision.
            if size.to < from && self.world.selected().as_ref() == Some(&size.revision) {
                planned.after(&[apply_key(ChildKind::Service, self.app.name())]);
            }
        }
    }

    fn deletions(&mut self, course: &Course) {
        let before = self.applied.clone();
        for (hash, whole) in &course.delete {
            let revision = self.world.revision(hash);
            let config = revision.config_map.filter(|_| *whole);
            for live in [revision.deployment, config].into_iter().flatten() {
                self.remove_after(live, &before);
            }
        }
    }
}
