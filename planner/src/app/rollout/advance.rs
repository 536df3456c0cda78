//! The way forward: expand, canary steps, promotion.
//!
//! Decides when a step is reached and over; capacity itself is in [`super::capacity`]. The Service is
//! turned only when the new revision can carry everything.

use signalbox_common::wire::LiveObject;
use signalbox_crds::app::{RolloutState, RolloutStatus};

use super::capacity::Old;
use super::steps::{after_seconds, canary_pods, pause_of, weight_of};
use super::{Chart, Decision};
use crate::app::migrations::{self, Gate};
use crate::app::noted::noted;
use crate::app::world::Revision;

impl Chart<'_, '_> {
    /// Expand files run; no pod of the new revision exists.
    pub(super) fn migrate(&mut self, mut rollout: RolloutStatus) {
        let stable = self.course.stable.clone().unwrap_or_default();
        let (new, old) = (self.revision(&rollout.revision), self.revision(&stable));
        if self.app.spec.paused {
            self.stand(&rollout, &stable);
            return;
        }
        match migrations::expand(self.app, &new, Some(&old), self.world.left_at(&new)) {
            Gate::Refused(why) => {
                self.stand(&rollout, &stable);
                self.fail(rollout, "RollbackRefused", why);
                return;
            }
            gate @ (Gate::Open(_) | Gate::Ask(_) | Gate::Wait(..) | Gate::Stalled(_)) => {
                if self.pass(gate, "Migrating").is_none() {
                    self.stand(&rollout, &stable);
                    self.course.rollout = Some(rollout);
                    return;
                }
            }
        }
        rollout.state = RolloutState::Progressing;
        rollout.progressed_at = self.now();
        self.decide(
            "StartPods",
            format!("the schema is ready for revision {}", rollout.revision),
        );
        self.progress(rollout);
    }

    /// The old revision carries everything meanwhile.
    fn stand(&mut self, rollout: &RolloutStatus, stable: &str) {
        self.course.serve = Some(stable.to_owned());
        self.keep(stable);
        let may = !self.app.spec.paused;
        self.size_alone(stable, may);
        if self.app.spec.paused {
            let what = format!("revision {} is held", rollout.revision);
            self.mood("Paused", "Paused", what);
        }
    }

    /// Pods of the new revision come up, step by step.
    pub(super) fn progress(&mut self, mut rollout: RolloutStatus) {
        let stable = self.course.stable.clone().unwrap_or_default();
        let (new, old) = (self.revision(&rollout.revision), self.revision(&stable));
        self.course.serve = Some(stable.clone());
        self.keep(&stable);
        if !self.carries(&old) && !self.app.spec.paused && self.is_apart(&new, &stable) {
            return self.come_back(rollout, &new, &stable);
        }
        if !self.is_beside(&new, &stable) {
            self.course.rollout = Some(rollout);
            return;
        }
        self.build(&rollout.revision, &stable, 0);
        // The steps may have been edited meanwhile.
        rollout.weight = weight_of(&self.app.spec.rollout, rollout.step).unwrap_or(100);
        let reached = |weight: i32| {
            new.is_current() && new.available() >= canary_pods(self.app.replicas(), weight)
        };
        if self.app.spec.paused {
            let waits = format!(
                "revision {} is held at {} %",
                rollout.revision, rollout.weight
            );
            self.mood("Paused", "Paused", waits);
        } else if reached(rollout.weight) {
            if self.leave_step(&mut rollout, &new, &stable) {
                return;
            }
        } else if self.is_late(&mut rollout, &new) {
            return;
        }
        let canary = canary_pods(self.app.replicas(), rollout.weight);
        let last = weight_of(&self.app.spec.rollout, rollout.step).is_none();
        let way = if last || self.app.spec.paused {
            Old::Stays
        } else {
            Old::GivesWay {
                keeps: i32::from(rollout.weight < 100),
            }
        };
        self.size_shared(&new, &old, canary, way);
        self.course.rollout = Some(rollout);
    }

    /// Whether the revision was made to serve beside another one than `stable`.
    fn is_apart(&self, new: &Revision<'_>, stable: &str) -> bool {
        let stays = |live: &LiveObject| live.deleted_at.is_none();
        let is_beside = || noted(self.app, new).base.as_deref() == Some(stable);
        new.deployment.is_some_and(stays) && !is_beside()
    }

    /// An earlier revision takes the place of one that can't carry everything. Emptied first it would never come: it
    /// comes up whole without traffic, and the Service turns to it at once.
    fn come_back(&mut self, mut rollout: RolloutStatus, new: &Revision<'_>, stable: &str) {
        self.keep(&new.hash);
        self.size_alone(stable, false);
        self.resize(new, self.app.replicas(), Vec::new());
        if !new.is_current() || !self.carries(new) {
            if self.is_late(&mut rollout, new) {
                return;
            }
        } else if self.promote(&rollout, new, stable) {
            return;
        }
        self.course.rollout = Some(rollout);
    }

    /// Whether the new revision's pods may serve beside `stable`. Labels of running pods can't be changed
    /// without a restart, so a revision that was made beside another one is emptied first.
    fn is_beside(&mut self, new: &Revision<'_>, stable: &str) -> bool {
        let Some(live) = new.deployment else {
            return true;
        };
        if live.deleted_at.is_some() {
            self.mood(
                "Progressing",
                "Terminating",
                format!("Deployment {} is being deleted", live.name),
            );
            self.size_alone(stable, false);
            return false;
        }
        if !self.is_apart(new, stable) {
            return true;
        }
        let what = format!(
            "revision {} is made ready to serve beside {stable}",
            new.hash
        );
        self.mood("Progressing", "Relabelling", what);
        self.size_alone(stable, !self.app.spec.paused);
        if new.is_empty() {
            self.build(&new.hash, stable, 0);
        }
        false
    }

    /// The step's weight is reached: pause, next step or promotion. True: promoted, all is said.
    fn leave_step(
        &mut self,
        rollout: &mut RolloutStatus,
        new: &Revision<'_>,
        stable: &str,
    ) -> bool {
        let spec = &self.app.spec.rollout;
        if weight_of(spec, rollout.step).is_none() {
            return self.promote(rollout, new, stable);
        }
        let reached_at = *rollout.step_reached_at.get_or_insert(self.app.now());
        let over = after_seconds(reached_at.min(self.now()), pause_of(spec, rollout.step));
        if self.now() < over {
            self.mood(
                "Progressing",
                "Pausing",
                format!("at {} % until {over}", rollout.weight),
            );
            self.wake(over);
            return false;
        }
        let before = rollout.weight;
        rollout.step += 1;
        rollout.weight = weight_of(spec, rollout.step).unwrap_or(100);
        rollout.step_reached_at = None;
        rollout.progressed_at = self.now();
        rollout.progressed_ready = new.available();
        self.mood(
            "Progressing",
            "Progressing",
            format!("goes to {} %", rollout.weight),
        );
        self.course.decision = Some(Decision {
            action: "NextStep",
            reason: format!("from {before} % to {} %", rollout.weight),
            value: Some(format!("{} pods serve", new.available())),
            threshold: Some(format!("{} pods", canary_pods(self.app.replicas(), before))),
        });
        let deadline = self.deadline(rollout);
        self.wake(deadline);
        false
    }

    /// The Service would be turned, but that is held back.
    pub(super) fn wait_to_turn(&mut self) {
        self.course.turn_waits = true;
        self.mood(
            "Progressing",
            "ServiceBlocked",
            "the Service can't be turned".to_owned(),
        );
    }

    /// Turns the Service to the new revision.
    fn promote(&mut self, rollout: &RolloutStatus, new: &Revision<'_>, stable: &str) -> bool {
        let all = self.app.replicas();
        if !self.may_turn {
            self.wait_to_turn();
            return false;
        }
        self.course.serve = Some(new.hash.clone());
        self.course.serve_guards = self.proof_that_carries(new);
        self.course.stable = Some(new.hash.clone());
        self.course.decision = Some(Decision {
            action: "Promote",
            reason: format!("revision {} carries everything; {stable} drains", new.hash),
            value: Some(format!("{} pods serve", new.available())),
            threshold: Some(format!("{all} pods")),
        });
        let occurrence = format!("{}/{}", new.hash, rollout.started_at);
        let note = format!(
            "revision {} carries everything; revision {stable} drains",
            new.hash
        );
        self.announce(occurrence, false, "Promoted", "Promote", &note);
        let now = self.now();
        self.course.rollout = Some(RolloutStatus {
            state: RolloutState::Promoted,
            promoted_at: Some(now),
            weight: 100,
            ..rollout.clone()
        });
        self.tell_ready();
        self.course.mood.busy = true;
        self.wake(after_seconds(now, self.app.spec.rollout.drain_seconds));
        true
    }

    /// Whether the revision has failed: no new pod for too long. True: it goes back, all is said.
    fn is_late(&mut self, rollout: &mut RolloutStatus, new: &Revision<'_>) -> bool {
        let canary = canary_pods(self.app.replicas(), rollout.weight);
        let waits = format!(
            "{} of {canary} pods of revision {} serve",
            new.available(),
            new.hash
        );
        self.mood("Progressing", "Progressing", waits);
        if rollout
            .step_reached_at
            .is_some_and(|reached| reached >= rollout.progressed_at)
        {
            // It was reached and is not any more: the deadline counts anew.
            let reached = rollout.step_reached_at.unwrap_or(rollout.progressed_at);
            rollout.progressed_at = self.now().max(after_seconds(reached, 1));
            rollout.progressed_ready = new.available();
        }
        if self.now() >= self.deadline(rollout) && new.available() > rollout.progressed_ready {
            rollout.progressed_at = self.now();
            rollout.progressed_ready = new.available();
        }
        if self.now() < self.deadline(rollout) {
            let deadline = self.deadline(rollout);
            self.wake(deadline);
            return false;
        }
        let seconds = self.app.spec.rollout.progress_deadline_seconds;
        let why = format!(
            "no pod of revision {} became ready within {seconds} s",
            new.hash
        );
        self.give_up(rollout.clone(), why);
        true
    }
}
