//! From a course to a plan: children, replicas, releases, deletions and the status behind them.
//!
//! Decides which actions there are and what each comes after; what is held back by a failure is left
//! out with all that depends on it. Never decides the course.

use std::borrow::Cow;

use jiff::Timestamp;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::Scale;
use signalbox_common::wire::plan::Guard;
use signalbox_common::wire::{Action, LiveObject};

use super::children::{self, Desired, Make, apply_key};
use super::noted::noted;
use super::reconcile::{self, Step, adopt_key, ensure};
use super::renderer::newest;
use super::resolve::App;
use super::rollout::{self, Build, Course, Size};
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
    // What is not planned only because its name is taken is wanted all the same: its failures go on counting,
    // so that each try waits longer than the one before.
    let wanted = [draft.keys(), taken].concat();
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
    /// Children of the app as a whole.
    fn shared(&mut self) {
        let app = self.app;
        let claim = self
            .world
            .child(ChildKind::PersistentVolumeClaim, app.name());
        let optional = [
            (ChildKind::PersistentVolumeClaim, children::pvc(app, claim)),
            (ChildKind::HorizontalPodAutoscaler, children::hpa(app)),
            (ChildKind::PodDisruptionBudget, children::pdb(app)),
        ];
        for (kind, desired) in optional {
            match desired {
                Some(desired) => match self.world.unserved(kind) {
                    Some(why) => self.told.notes.push(why),
                    None => {
                        self.child(&desired, &[], Vec::new());
                    }
                },
                // A volume is never dropped because a spec does not name it any more.
                None if kind == ChildKind::PersistentVolumeClaim => {}
                None => self.remove(self.world.own(kind, app.name())),
            }
        }
    }

    /// The Service: behind what it is turned to.
    fn serve(&mut self, course: &Course) {
        let Some(serve) = &course.serve else { return };
        match children::service(self.app, serve) {
            Some(desired) => {
                let guards = if course.serve_guards.is_empty() {
                    self.where_it_turns(serve).into_iter().collect()
                } else {
                    course.serve_guards.clone()
                };
                self.child(&desired, &[], guards);
            }
            None => self.remove(self.world.own(ChildKind::Service, self.app.name())),
        }
    }

    /// Away from pods that serve the Service turns only to another one that serves: by a status that is late, what
    /// has been replaced already looks like what should serve.
    fn where_it_turns(&self, serve: &str) -> Option<Guard> {
        let selected = self.world.selected().filter(|hash| hash != serve)?;
        let loses = self.app.replicas() > 0 && self.world.revision(&selected).available() > 0;
        self.world.revision(serve).guard(1).filter(|_| loses)
    }

    fn revisions(&mut self, course: &Course) {
        for build in &course.build {
            self.revision(build);
        }
    }

    /// `ConfigMap` and Deployment of a revision. One whose inputs nobody knows any more is left as it is.
    fn revision(&mut self, build: &Build) {
        let (app, seen) = (self.app, self.world.revision(&build.revision));
        let Some((inputs, config)) = seen.inputs(app) else {
            return;
        };
        let desired = children::config_map(app, &build.revision, &inputs, &config);
        let config_key = desired.key();
        if !self.child(&desired, &[], Vec::new()) {
            return;
        }
        let noted = noted(app, &seen);
        let is_beside_base = noted.base.as_ref() == Some(&build.base);
        let make = Make {
            revision: &build.revision,
            base: &build.base,
            inputs: &inputs,
            configured: !config.is_empty(),
            renderer: noted.renderer.as_deref().unwrap_or_else(|| newest()),
            replicas: if seen.deployment.is_some() {
                seen.asked()
            } else {
                build.replicas
            },
        };
        let proof = noted.proof.as_ref().filter(|_| is_beside_base);
        let desired = proof.map(Cow::Borrowed);
        let desired = desired.or_else(|| children::deployment(app, &make).map(Cow::Owned));
        if let Some(desired) = desired {
            // Pods without their configuration would not start.
            let after: &[String] = if config.is_empty() {
                &[]
            } else {
                &[config_key]
            };
            self.child(&desired, after, Vec::new());
        }
    }

    /// Brings one child to its configuration. False: its name is somebody else's.
    fn child(&mut self, desired: &Desired, after: &[String], guards: Vec<Guard>) -> bool {
        let (key, action) = match ensure(self.world, self.app.uid(), desired) {
            Step::Nothing => return true,
            Step::Wait(what) => {
                self.told.notes.push(what);
                return true;
            }
            Step::Taken(what) => {
                self.told.taken.push(what);
                self.taken.push(desired.key());
                return false;
            }
            Step::Do(action) => (desired.key(), action),
            // The failed creation, which found it, does not hold it back.
            Step::Adopt(action) => (adopt_key(desired), action),
        };
        let occurrence = occurrence(desired);
        let planned = self
            .draft
            .push(key.clone(), &occurrence, *action)
            .after(after);
        for guard in guards {
            planned.guard(guard);
        }
        self.applied.push(key);
        true
    }

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

    fn remove(&mut self, live: Option<&LiveObject>) {
        if let Some(live) = live {
            self.remove_after(live, &[]);
        }
    }

    fn remove_after(&mut self, live: &LiveObject, after: &[String]) {
        if live.deleted_at.is_some() {
            return;
        }
        if let Some(action) = reconcile::delete(live) {
            self.draft
                .push(reconcile::delete_key(live), &live.uid, action)
                .after(after);
        }
    }
}

/// A child's configuration is a new wish when it differs.
fn occurrence(desired: &Desired) -> String {
    signalbox_common::digest::short_of_json(&desired.object, 32)
}
