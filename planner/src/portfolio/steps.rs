//! From the course of an app to actions: children, scales, the release, removals.
//!
//! Decides what is written and in which order; never why.

use serde_json::{Value, json};
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::action::{
    Action, ApplyChild, ApplyMode, DeleteChild, EmitEvent, PatchSpec, Scale,
};
use signalbox_common::wire::plan::{Expect, Guard, Test};
use signalbox_common::wire::{LiveObject, PlannedAction};
use signalbox_crds::names;

use super::children::{Wanted, config_map, deployment, extras, service};
use super::rollout::{Course, Notice};
use super::satisfied::mend;
use super::view::{View, asked, base_of};
use crate::draft::{Dependent as _, Draft};
use crate::failure::Assessment;

/// Plans the actions; returns the keys of all that are wanted, held ones too.
pub(crate) fn plan(
    view: &View<'_>,
    course: &Course,
    assessment: &Assessment,
    draft: &mut Draft,
) -> Vec<String> {
    let mut step = Steps {
        view,
        course,
        assessment,
        draft,
        wanted: Vec::new(),
    };
    step.build();
    step.scales();
    step.release();
    step.surplus();
    if let Some(notice) = &course.notice {
        step.event(notice);
    }
    step.wanted
}

struct Steps<'a, 'b> {
    view: &'a View<'b>,
    course: &'a Course,
    assessment: &'a Assessment,
    draft: &'a mut Draft,
    wanted: Vec<String>,
}

impl Steps<'_, '_> {
    /// Children that the course and the spec ask for.
    fn build(&mut self) {
        let view = self.view;
        for child in [
            extras::volume(view),
            extras::autoscaler(view),
            extras::budget(view),
        ]
        .into_iter()
        .flatten()
        {
            self.child(&child, None);
        }
        if let Some(revision) = &self.course.build {
            self.child(&config_map::build(view, revision), None);
            self.deployment(revision);
        }
        let serves = self.course.serves.as_ref();
        if let Some(child) = serves.and_then(|revision| service::build(view, revision)) {
            let rests_on = self.course.serves_rests_on.as_ref();
            let guard = rests_on.and_then(|(revision, least)| self.available(revision, *least));
            self.child(&child, guard);
        }
    }

    fn deployment(&mut self, revision: &str) {
        let live = self.view.deployments().get(revision).copied();
        let stable = self.view.status.stable.as_deref();
        let replicas = self
            .course
            .wants
            .get(revision)
            .copied()
            .unwrap_or_else(|| asked(live));
        // Pods keep the circle that they were made for; without pods a new one costs nothing.
        let noted = live
            .and_then(base_of)
            .filter(|_| asked(live) > 0 || stable.is_none_or(|s| s == revision));
        let base = noted.or(stable).unwrap_or(revision).to_owned();
        let renders = live.is_none_or(|d| {
            d.annotations
                .get(names::ANNOTATION_RENDERER)
                .is_none_or(|r| r == deployment::RENDERER)
        });
        if !renders {
            // Made by another renderer: its template stays as it is, nothing is restarted.
            return;
        }
        let built = deployment::build(self.view, revision, &base, replicas);
        self.child(&built, None);
    }

    /// One child: created, mended, or left alone.
    fn child(&mut self, child: &Wanted, guard: Option<Guard>) {
        let key = format!("apply/{}/{}", child.kind, child.name);
        let live = self.view.live(child.kind, &child.name);
        let mode = match live {
            None => ApplyMode::Create,
            Some(live) if live.deleted_at.is_some() => return,
            Some(live) if !live.is_owned_by(self.view.uid()) => {
                // Somebody else's: the failure stays until it is gone.
                self.wanted.push(key);
                return;
            }
            Some(live) => match mend(live, child) {
                Some(mode) => mode,
                None => return,
            },
        };
        self.wanted.push(key.clone());
        if self.assessment.holds(&key) {
            return;
        }
        let mut object = child.object.clone();
        if let (
            ApplyMode::Apply { .. } | ApplyMode::Replace { .. },
            ChildKind::Deployment,
            Some(live),
        ) = (&mode, child.kind, live)
        {
            // Replicas move by Scale alone, with what it rests on.
            if let Some(spec) = object.get_mut("spec") {
                super::children::put(spec, "replicas", json!(asked(Some(live))));
            }
        }
        let action = Action::ApplyChild(ApplyChild {
            kind: child.kind,
            name: child.name.clone(),
            mode,
            object,
        });
        let occurrence = child
            .object
            .pointer("/metadata/annotations")
            .and_then(|a| a.get(names::ANNOTATION_APPLIED));
        let occurrence = occurrence
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let planned = self.draft.push(key, &occurrence, action);
        if let Some(guard) = guard {
            planned.guard(guard);
        }
    }

    /// Replicas of Deployments that exist.
    fn scales(&mut self) {
        for (revision, live) in self.view.deployments() {
            let Some(wanted) = self.course.wants.get(revision).copied() else {
                continue;
            };
            let now = asked(Some(live));
            let key = format!("scale/Deployment/{}", live.name);
            let applied = self
                .draft
                .actions
                .iter()
                .any(|a| a.key == format!("apply/Deployment/{}", live.name));
            if now == wanted || applied {
                continue;
            }
            self.wanted.push(key.clone());
            if self.assessment.holds(&key) {
                continue;
            }
            let guard = if wanted < now
                && self
                    .course
                    .rests_on
                    .as_ref()
                    .is_some_and(|(r, _)| r != revision)
            {
                self.course
                    .rests_on
                    .as_ref()
                    .and_then(|(r, least)| self.available(r, *least))
            } else {
                None
            };
            let to = |count: i64| i32::try_from(count).unwrap_or(i32::MAX);
            let action = Action::Scale(Scale {
                name: live.name.clone(),
                uid: live.uid.clone(),
                resource_version: live.resource_version.clone(),
                from: to(now),
                to: to(wanted),
            });
            let planned: &mut PlannedAction =
                self.draft
                    .push(key, &format!("{revision}/{wanted}"), action);
            if let Some(guard) = guard {
                planned.guard(guard);
            }
        }
    }

    /// The guard that a revision has at least so many available pods.
    fn available(&self, revision: &str, least: i64) -> Option<Guard> {
        let live = self.view.deployments().get(revision).copied()?;
        Some(Guard {
            kind: live.kind.clone(),
            name: live.name.clone(),
            uid: live.uid.clone(),
            expect: vec![
                Expect {
                    pointer: "/status/availableReplicas".to_owned(),
                    test: Test::AtLeast(least),
                },
                Expect {
                    pointer: "/status/observedGeneration".to_owned(),
                    test: Test::AtLeast(live.generation.unwrap_or_default()),
                },
            ],
        })
    }

    /// `spec.release` of the migration.
    fn release(&mut self) {
        let Some((phase, revision)) = &self.course.release else {
            return;
        };
        let Some(migration) = self.view.migration() else {
            return;
        };
        let has = migration.release.as_ref();
        if has.is_some_and(|r| r.revision == *revision && r.phase >= *phase) {
            return;
        }
        let key = format!("release/DatabaseMigration/{}", migration.object.name);
        self.wanted.push(key.clone());
        if self.assessment.holds(&key) {
            return;
        }
        let before = migration
            .object
            .at("/spec/release")
            .cloned()
            .unwrap_or(Value::Null);
        let action = Action::PatchSpec(PatchSpec {
            kind: Kind::DatabaseMigration,
            name: migration.object.name.clone(),
            uid: migration.object.uid.clone(),
            resource_version: migration.object.resource_version.clone(),
            replaces: [("/spec/release".to_owned(), before)].into(),
            spec: json!({ "release": { "phase": phase, "revision": revision } }),
            annotations: std::collections::BTreeMap::new(),
        });
        self.draft
            .push(key, &format!("{revision}/{phase:?}"), action);
    }

    /// What nobody wants any more: old revisions beyond the history, children of features given up.
    fn surplus(&mut self) {
        for child in surplus(self.view, self.course) {
            let key = format!("delete/{}/{}", child.kind, child.name);
            let Some(kind) = ChildKind::parse(&child.kind) else {
                continue;
            };
            self.wanted.push(key.clone());
            if self.assessment.holds(&key) {
                continue;
            }
            let action = Action::DeleteChild(DeleteChild {
                kind,
                name: child.name.clone(),
                uid: child.uid.clone(),
                resource_version: child.resource_version.clone(),
                seen: Some(child.basis()),
            });
            self.draft.push(key, &child.uid, action);
        }
    }

    fn event(&mut self, notice: &Notice) {
        let started = self
            .course
            .rollout
            .as_ref()
            .map(|r| r.started_at.to_string())
            .unwrap_or_default();
        let action = Action::EmitEvent(EmitEvent {
            warning: notice.warning,
            reason: notice.reason.to_owned(),
            action: "Rollout".to_owned(),
            note: notice.note.clone(),
        });
        let key = format!("event/{}", notice.reason);
        self.wanted.push(key.clone());
        if !self.assessment.holds(&key) {
            self.draft
                .push(key, &format!("{}/{started}", notice.revision), action);
        }
    }
}

/// Own children that nothing wants any more, oldest revisions first.
fn surplus<'a>(view: &View<'a>, course: &Course) -> Vec<&'a LiveObject> {
    let own = |o: &&'a LiveObject| o.is_owned_by(view.uid()) && o.deleted_at.is_none();
    let prefix = format!("{}-", view.name());
    let spec = view.spec;
    let kept: Vec<&str> = [
        course.stable.as_deref(),
        course.build.as_deref(),
        course.rollout.as_ref().map(|r| r.revision.as_str()),
        course.rollout.as_ref().and_then(|r| r.base.as_deref()),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut old: Vec<&LiveObject> = view
        .deployments()
        .into_iter()
        .filter(|(r, d)| {
            !kept.contains(r) && asked(Some(d)) == 0 && d.count("/status/replicas") == 0
        })
        .map(|(_, d)| d)
        .collect();
    old.sort_by(|a, b| {
        b.created_at
            .cmp(&a.created_at)
            .then_with(|| b.name.cmp(&a.name))
    });
    let limit = usize::try_from(spec.rollout.history_limit).unwrap_or(0);
    let mut gone: Vec<&LiveObject> = old.into_iter().skip(limit).collect();
    let deployments = view.deployments();
    for child in view.seen.children.iter().filter(own) {
        let unwanted = match ChildKind::parse(&child.kind) {
            Some(ChildKind::ConfigMap) => child.name.strip_prefix(&prefix).is_some_and(|r| {
                let going = gone.iter().any(|d| d.name == child.name);
                !kept.contains(&r) && (going || !deployments.contains_key(r))
            }),
            Some(ChildKind::Service) => spec.ports.is_empty(),
            Some(ChildKind::HorizontalPodAutoscaler) => spec.autoscaling.is_none(),
            Some(ChildKind::PodDisruptionBudget) => spec.disruption_budget.is_none(),
            Some(ChildKind::Deployment | ChildKind::PersistentVolumeClaim) | None => false,
        };
        if unwanted {
            gone.push(child);
        }
    }
    gone
}
