//! The first revision: nothing serves before it, so it comes up whole and at once.
//!
//! Decides its course until it serves, also when another one takes its place before that. Nothing to
//! roll back to: past its deadline it is told as Stalled and may still become ready.

use signalbox_crds::app::{RolloutState, RolloutStatus};

use super::Chart;
use super::steps::after_seconds;
use crate::app::migrations;
use crate::app::noted::noted;

impl Chart<'_, '_> {
    pub(super) fn first(&mut self, rollout: &RolloutStatus) {
        let mut rollout = rollout.clone();
        let revision = self.revision(&rollout.revision);
        // Pods of a later first revision may serve beside the one that the Service names already.
        let selected = self.world.selected();
        let base = noted(self.app, &revision)
            .base
            .clone()
            .or_else(|| selected.clone());
        let base = base.unwrap_or_else(|| rollout.revision.clone());
        // What the Service names keeps it until it is gone, also if this one was begun beside nothing (the Service was
        // not seen then): its pods may be ready by now, and its deletion is refused if they are.
        let serving = selected.filter(|hash| self.revision(hash).deployment.is_some());
        self.course.serve = Some(serving.unwrap_or_else(|| base.clone()));
        if rollout.state == RolloutState::Migrating {
            let gate = migrations::expand(self.app, &revision, None, None);
            if self.pass(gate, "Migrating").is_none() {
                self.course.rollout = Some(rollout);
                return;
            }
            rollout.state = RolloutState::Progressing;
            rollout.progressed_at = self.now();
            self.decide("StartPods", "the schema is ready".to_owned());
        }
        let all = self.app.replicas();
        rollout.weight = 100;
        self.build(&rollout.revision, &base, all);
        self.resize(&revision, all, Vec::new());
        self.replace_unserving(&rollout.revision, revision.available() >= all);
        if revision.is_current() && revision.available() >= all {
            self.complete_first(rollout);
            return;
        }
        let waits = format!(
            "{} of {all} pods of revision {} serve",
            revision.available(),
            rollout.revision
        );
        self.mood("Progressing", "Progressing", waits);
        if revision.available() > rollout.progressed_ready && self.now() >= self.deadline(&rollout)
        {
            rollout.progressed_ready = revision.available();
            rollout.progressed_at = self.now();
        }
        let deadline = self.deadline(&rollout);
        if self.now() >= deadline && !self.app.spec.paused {
            self.course.mood.reason = "ProgressDeadlineExceeded";
            self.course.mood.stalled = true;
        } else if !self.app.spec.paused {
            self.wake(deadline);
        }
        self.course.rollout = Some(rollout);
    }

    /// Time by which the next pod must be ready.
    pub(super) fn deadline(&self, rollout: &RolloutStatus) -> jiff::Timestamp {
        let start = rollout.progressed_at.min(self.now());
        after_seconds(start, self.app.spec.rollout.progress_deadline_seconds)
    }

    fn complete_first(&mut self, rollout: RolloutStatus) {
        let revision = rollout.revision.clone();
        if self.course.serve.as_ref() != Some(&revision) {
            if !self.may_turn {
                self.wait_to_turn();
                self.course.rollout = Some(rollout);
                return;
            }
            self.course.serve_guards = self.proof_that_carries(&self.revision(&revision));
        }
        self.course.serve = Some(revision.clone());
        self.decide(
            "Complete",
            format!("all pods of the first revision {revision} serve"),
        );
        self.course.stable = Some(revision);
        let state = match self.app.spec.migrations {
            Some(_) => RolloutState::Contracting,
            None => RolloutState::Completed,
        };
        let finished_at = (state == RolloutState::Completed).then(|| self.now());
        self.course.rollout = Some(RolloutStatus {
            state,
            finished_at,
            ..rollout
        });
        self.tell_ready();
        if state == RolloutState::Contracting {
            let what = "contract files run next".to_owned();
            self.mood("Migrating", "Contracting", what);
            // Nothing else would come: the last change of a child was this one.
            self.wake(self.now());
        }
    }

    /// Deletes first revisions that another one replaces: those without a serving pod at once.
    fn replace_unserving(&mut self, kept: &str, all: bool) {
        for other in self.world.revisions() {
            let goes = other.hash != kept && other.deployment.is_some();
            if goes && (all || other.available() == 0) && !self.app.spec.paused {
                self.course.delete.push((other.hash.clone(), false));
            }
        }
    }
}
