//! The children in a plan: what brings each to its configuration, and what takes it away.
//!
//! Decides the order among them and what turning the Service rests on. Never decides which there are to be.

use std::borrow::Cow;

use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::LiveObject;
use signalbox_common::wire::plan::Guard;

use super::Drawing;
use crate::app::children::{self, Desired, Make};
use crate::app::noted::noted;
use crate::app::reconcile::{self, Step, adopt_key, ensure};
use crate::app::renderer::newest;
use crate::app::rollout::{Build, Course};
use crate::draft::Dependent as _;

impl Drawing<'_, '_> {
    /// Children of the app as a whole.
    pub(super) fn shared(&mut self) {
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
    pub(super) fn serve(&mut self, course: &Course) {
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
        let loses = self.world.revision(&selected).available() > 0;
        let rests_on = || self.world.revision(serve).guard(1);
        self.app.none_wanted().or_else(rests_on).filter(|_| loses)
    }

    pub(super) fn revisions(&mut self, course: &Course) {
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

    fn remove(&mut self, live: Option<&LiveObject>) {
        if let Some(live) = live {
            self.remove_after(live, &[]);
        }
    }

    pub(super) fn remove_after(&mut self, live: &LiveObject, after: &[String]) {
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
