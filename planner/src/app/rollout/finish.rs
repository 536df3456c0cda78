//! The ends of a rollout: drain and contract after promotion, the way back, and rest.
//!
//! Decides what is safe to take away. Before promotion the safe side is the old revision, after it the
//! new one.

use signalbox_common::wire::action::EmitEvent;
use signalbox_crds::app::{RolloutState, RolloutStatus};

use super::steps::after_seconds;
use super::{Chart, Mood};
use crate::app::migrations;

impl Chart<'_, '_> {
    /// The Service sends to the new revision only; the old one drains.
    pub(super) fn drain(&mut self, rollout: RolloutStatus) {
        let start = rollout
            .promoted_at
            .unwrap_or(rollout.progressed_at)
            .min(self.now());
        let over = after_seconds(start, self.app.spec.rollout.drain_seconds);
        let drained = self.now() >= over && !self.app.spec.paused;
        self.hold_stable(drained);
        let busy = self
            .world
            .revisions()
            .iter()
            .any(|one| one.hash != rollout.revision && !one.is_empty());
        if !drained {
            if self.app.spec.paused {
                self.course.mood.phase = "Paused";
            } else {
                self.wake(over);
            }
        } else if !busy {
            self.course.mood.busy = false;
            let state = match self.app.spec.migrations {
                Some(_) => RolloutState::Contracting,
                None => RolloutState::Completed,
            };
            return self.end(RolloutStatus { state, ..rollout });
        } else if self.is_given_up(&rollout) {
            return self.complete(rollout, ", though not all of its pods serve");
        }
        self.course.mood.busy = true;
        self.course.rollout = Some(rollout);
    }

    /// Whether the spec asks for another revision while this one can't carry everything: the others drain no further
    /// until it does, which may be never, and what was asked for may be what heals it.
    fn is_given_up(&self, rollout: &RolloutStatus) -> bool {
        let is_wanted = self.app.revision == rollout.revision || self.course.failed.is_some();
        !is_wanted && !self.carries(&self.revision(&rollout.revision))
    }

    /// Contract files run.
    pub(super) fn contract(&mut self, rollout: RolloutStatus) {
        if self.app.spec.paused {
            self.hold_stable(false);
            self.course.mood.phase = "Paused";
            self.course.mood.busy = true;
            return;
        }
        if let Some(why) = self.withheld(&rollout) {
            self.hold_stable(true);
            return self.complete(rollout, &format!("; contract files wait: {why}"));
        }
        let gate = migrations::contract(self.app, &rollout.revision);
        let open = self.pass(gate, "Contracting").is_some();
        let told = std::mem::take(&mut self.course.mood);
        self.hold_stable(true);
        if open {
            return self.complete(rollout, "");
        }
        self.course.mood.busy = true;
        self.course.mood.stalled = told.stalled;
        if self.course.mood.ready {
            self.course.mood.ready = false;
            self.course.mood.phase = "Migrating";
            self.course.mood.reason = told.reason;
            self.course.mood.message = told.message;
        }
        self.course.rollout = Some(rollout);
    }

    /// Why contract files must not run now, though they are there: they belong to a later release, or would
    /// bar a way back that is asked for already.
    fn withheld(&self, rollout: &RolloutStatus) -> Option<String> {
        self.app.spec.migrations.as_ref()?;
        let wanted = &self.app.revision;
        if *wanted != rollout.revision && self.course.failed.is_none() {
            return Some(format!("the spec asks for revision {wanted}"));
        }
        let base = rollout.base.as_ref().filter(|b| **b != rollout.revision)?;
        let (own, other) = (self.revision(&rollout.revision), self.revision(base));
        // Times of creation are whole seconds: of two in the same one, the one that this rollout made is
        // newer. So it is beside a base of which nothing is left.
        let Some(own) = own.created_at().map(jiff::Timestamp::as_second) else {
            return Some(format!("nothing is left of revision {}", rollout.revision));
        };
        let was_there = own < rollout.started_at.as_second();
        let went_back = match other.created_at().map(jiff::Timestamp::as_second) {
            Some(other) if own != other => own < other,
            Some(_) | None => was_there,
        };
        went_back.then(|| format!("revision {} may need what they drop", rollout.revision))
    }

    /// Ends the rollout, or goes on to contract.
    fn end(&mut self, rollout: RolloutStatus) {
        if rollout.state == RolloutState::Contracting {
            self.decide(
                "Contract",
                format!("no pod but those of revision {} is left", rollout.revision),
            );
            return self.contract(rollout);
        }
        self.complete(rollout, "");
    }

    /// The rollout is over; `rest` is what else there is to say.
    fn complete(&mut self, rollout: RolloutStatus, rest: &str) {
        self.course.mood.busy = false;
        self.decide(
            "Complete",
            format!("revision {} has taken over{rest}", rollout.revision),
        );
        if self.app.revision != rollout.revision && self.course.failed.is_none() {
            // Nothing else would come: what is asked for begins with the next look.
            self.course.mood.busy = true;
            self.wake(self.now());
        }
        self.course.rollout = Some(RolloutStatus {
            state: RolloutState::Completed,
            finished_at: Some(self.now()),
            ..rollout
        });
    }

    /// Gives up a revision that failed.
    pub(super) fn give_up(&mut self, rollout: RolloutStatus, why: String) {
        let (revision, stable) = (
            rollout.revision.clone(),
            self.course.stable.clone().unwrap_or_default(),
        );
        self.course.failed = Some(revision.clone());
        self.decide("RollBack", why.clone());
        let occurrence = format!("{revision}/{}", rollout.started_at);
        let note = format!("revision {revision} is rolled back to {stable}: {why}");
        self.warn(occurrence, "ProgressDeadlineExceeded", &note);
        self.course.build.clear();
        self.roll_back(RolloutStatus {
            state: RolloutState::RollingBack,
            message: Some(why),
            ..rollout
        });
    }

    /// Ends a rollout that never had a pod.
    pub(super) fn fail(&mut self, rollout: RolloutStatus, reason: &'static str, why: String) {
        let revision = rollout.revision.clone();
        let occurrence = format!("{revision}/{}", rollout.started_at);
        self.course.failed = Some(revision.clone());
        self.decide("Refuse", why.clone());
        self.warn(
            occurrence,
            reason,
            &format!("revision {revision} is refused: {why}"),
        );
        let now = self.now();
        self.course.rollout = Some(RolloutStatus {
            state: RolloutState::RolledBack,
            finished_at: Some(now),
            message: Some(why),
            ..rollout
        });
        self.tell_ready();
    }

    fn warn(&mut self, occurrence: String, reason: &str, note: &str) {
        self.announce(occurrence, true, reason, "RollBack", note);
    }

    pub(super) fn announce(
        &mut self,
        occurrence: String,
        warning: bool,
        reason: &str,
        action: &str,
        note: &str,
    ) {
        let event = EmitEvent {
            warning,
            reason: reason.to_owned(),
            action: action.to_owned(),
            note: signalbox_crds::condition::clip(note, 1024),
        };
        self.course.event = Some((occurrence, event));
    }

    /// The old revision gets its full capacity; then the new one goes away.
    pub(super) fn roll_back(&mut self, mut rollout: RolloutStatus) {
        let stable = self.course.stable.clone().unwrap_or_default();
        self.course.serve = Some(stable.clone());
        self.keep(&stable);
        let why = rollout.message.clone().unwrap_or_default();
        let gate = migrations::withdraw(self.app, &stable);
        let open = self.pass(gate, "RollingBack");
        if let Some(guards) = open {
            self.size_alone(&stable, true);
            for size in &mut self.course.sizes {
                size.guards.extend(guards.iter().cloned());
            }
            self.mood("RollingBack", "RollingBack", why);
        }
        let is_over = open_and_empty(self, &stable);
        if self.course.ask.is_none() && is_over {
            rollout.state = RolloutState::RolledBack;
            rollout.finished_at = Some(self.now());
            self.tell_ready();
        }
        self.course.rollout = Some(rollout);
    }

    /// Nothing is under way.
    pub(super) fn rest(&mut self) {
        let Some(_) = &self.course.stable else {
            self.mood("Paused", "Paused", "nothing was started yet".to_owned());
            self.course.mood.busy = false;
            return;
        };
        self.hold_stable(!self.app.spec.paused);
        if self.app.spec.paused {
            self.course.mood.phase = "Paused";
        }
    }

    /// The stable revision carries everything.
    fn hold_stable(&mut self, others_go: bool) {
        let stable = self.course.stable.clone().unwrap_or_default();
        self.course.serve = Some(stable.clone());
        self.keep(&stable);
        self.size_alone(&stable, others_go);
        self.tell_ready();
    }

    /// Whether what was asked for serves.
    pub(super) fn tell_ready(&mut self) {
        let app = self.app;
        let stable = self.course.stable.clone().unwrap_or_default();
        let revision = self.revision(&stable);
        let (available, all) = (revision.available(), app.replicas());
        let serves = revision.is_current() && available >= all;
        let (mut mood, message) = (Mood::default(), format!("{available} of {all} pods serve"));
        mood.busy = !serves;
        (mood.phase, mood.reason, mood.message) = if serves {
            ("Ready", "Available", message)
        } else {
            ("Progressing", "PodsMissing", message)
        };
        if stable == app.revision {
            mood.ready = serves;
        } else if self.course.failed.is_some() {
            let why = self
                .course
                .rollout
                .as_ref()
                .and_then(|rollout| rollout.message.clone());
            let why = why.unwrap_or_default();
            (mood.phase, mood.reason) = ("RolledBack", "RolledBack");
            mood.message = format!(
                "revision {} was rolled back, {stable} serves: {why}",
                app.revision
            );
            mood.stalled = true;
        } else {
            (mood.phase, mood.reason) = ("Progressing", "Outdated");
            mood.message = format!("revision {stable} serves, {} is not started", app.revision);
            mood.busy = !app.spec.paused;
        }
        self.course.mood = mood;
    }
}

/// Whether the stable revision carries everything and no other has pods.
fn open_and_empty(chart: &Chart<'_, '_>, stable: &str) -> bool {
    let main = chart.revision(stable);
    let others = chart.world.revisions();
    let empty = others
        .iter()
        .filter(|one| one.hash != stable)
        .all(|one| one.asked() == 0);
    chart.carries(&main) && empty
}
