//! The rollout: which revisions there should be, how many pods each, and which one is served.
//!
//! Decides the course from stored times, the spec and what is observed; never writes and never sleeps.
//! A revision takes over in steps: Migrating, Progressing, Promoted, Contracting, Completed; or it goes
//! back: `RollingBack`, `RolledBack`. docs/adr/0002 tells why a Service selects a revision.

mod advance;
mod capacity;
mod choose;
mod finish;
mod first;
mod history;
mod steps;

use jiff::Timestamp;
use signalbox_common::wire::action::EmitEvent;
use signalbox_common::wire::plan::Guard;
use signalbox_crds::app::{AppRelease, RolloutState, RolloutStatus};

use super::migrations::{self, Ask, Gate};
use super::noted::noted;
use super::resolve::App;
use super::world::{Revision, World};
use crate::failure::Assessment;

/// What is wanted now, and the rollout's state after it.
#[derive(Default)]
pub(super) struct Course {
    pub(super) rollout: Option<RolloutStatus>,
    pub(super) stable: Option<String>,
    pub(super) failed: Option<String>,
    pub(super) release: Option<AppRelease>,
    /// The revision that the Service selects; none: no Service yet.
    pub(super) serve: Option<String>,
    /// What turning the Service rests on.
    pub(super) serve_guards: Vec<Guard>,
    /// It would be turned, but that is held back.
    pub(super) turn_waits: bool,
    /// Revisions that should exist as configured.
    pub(super) build: Vec<Build>,
    /// Changes of replicas.
    pub(super) sizes: Vec<Size>,
    /// Revisions that are deleted, by hash; their `ConfigMap` too if told so.
    pub(super) delete: Vec<(String, bool)>,
    /// A release of the migration.
    pub(super) ask: Option<Box<Ask>>,
    /// An Event, with what makes it a new one.
    pub(super) event: Option<(String, EmitEvent)>,
    pub(super) decision: Option<Decision>,
    /// When to look again.
    pub(super) wake: Option<Timestamp>,
    pub(super) mood: Mood,
}

/// How things stand, for status.
#[derive(Clone, Default)]
pub(super) struct Mood {
    pub(super) phase: &'static str,
    /// Everything that was asked for serves.
    pub(super) ready: bool,
    /// Something is still under way.
    pub(super) busy: bool,
    /// No progress without help.
    pub(super) stalled: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// A revision that should exist as configured.
pub(super) struct Build {
    pub(super) revision: String,
    pub(super) base: String,
    /// Pods to ask for if it has to be created.
    pub(super) replicas: i32,
}

/// A change of replicas.
#[derive(Debug, PartialEq)]
pub(super) struct Size {
    pub(super) revision: String,
    pub(super) to: i32,
    pub(super) guards: Vec<Guard>,
}

/// Something that was decided, for `status.lastDecision`.
pub(super) struct Decision {
    pub(super) action: &'static str,
    pub(super) reason: String,
    pub(super) value: Option<String>,
    pub(super) threshold: Option<String>,
}

/// What the rules of one rollout work on.
struct Chart<'c, 'a> {
    app: &'c App<'a>,
    world: &'c World<'a>,
    failures: &'c Assessment,
    /// Whether the Service can be turned now.
    may_turn: bool,
    course: Course,
}

/// The course for what was seen.
pub(super) fn course(
    app: &App<'_>,
    world: &World<'_>,
    failures: &Assessment,
    may_turn: bool,
) -> Course {
    let course = Course {
        rollout: app.status.rollout.clone(),
        stable: app.status.stable.clone(),
        failed: app
            .status
            .failed_revision
            .clone()
            .filter(|failed| *failed == app.revision),
        release: migrations::asked(app).or_else(|| app.status.release.clone()),
        ..Course::default()
    };
    let mut chart = Chart {
        app,
        world,
        failures,
        may_turn,
        course,
    };
    chart.choose();
    chart.run();
    chart.forget_history();
    chart.course
}

impl<'a> Chart<'_, 'a> {
    /// Follows the rollout through what can be done in one plan.
    fn run(&mut self) {
        let Some(rollout) = self.course.rollout.clone() else {
            return self.rest();
        };
        if self.course.stable.is_none() {
            return self.first(&rollout);
        }
        match rollout.state {
            RolloutState::Migrating => self.migrate(rollout),
            RolloutState::Progressing => self.progress(rollout),
            RolloutState::Promoted => self.drain(rollout),
            RolloutState::Contracting => self.contract(rollout),
            RolloutState::RollingBack => self.roll_back(rollout),
            RolloutState::Completed | RolloutState::RolledBack => self.rest(),
        }
    }

    fn now(&self) -> Timestamp {
        self.app.now()
    }

    fn revision(&self, hash: &str) -> Revision<'a> {
        self.world.revision(hash)
    }

    /// Asks to look again at that time, unless earlier is asked for.
    fn wake(&mut self, at: Timestamp) {
        self.course.wake = Some(self.course.wake.map_or(at, |before| before.min(at)));
    }

    fn decide(&mut self, action: &'static str, reason: String) {
        self.course.decision = Some(Decision {
            action,
            reason,
            value: None,
            threshold: None,
        });
    }

    fn mood(&mut self, phase: &'static str, reason: &'static str, message: String) {
        let busy = true;
        self.course.mood = Mood {
            phase,
            busy,
            reason,
            message,
            ..Mood::default()
        };
    }

    /// Wants a revision as configured, whatever was wanted of it before: a rollout may go through two of its states in
    /// one plan. `replicas` are those of a new Deployment.
    fn build(&mut self, revision: &str, base: &str, replicas: i32) {
        self.course.build.retain(|build| build.revision != revision);
        let (revision, base) = (revision.to_owned(), base.to_owned());
        self.course.build.push(Build {
            revision,
            base,
            replicas,
        });
    }

    /// Wants an existing revision as configured, beside what it was made for. If it is gone it comes back
    /// without pods: a create that comes late must change nothing.
    fn keep(&mut self, revision: &str) {
        let noted = noted(self.app, &self.revision(revision));
        let base = noted.base.as_deref().unwrap_or(revision);
        self.build(revision, base, 0);
    }

    /// Tells what a closed gate waits for and asks where it must; the guards of an open one.
    fn pass(&mut self, gate: Gate, phase: &'static str) -> Option<Vec<Guard>> {
        match gate {
            Gate::Open(guards) => return Some(guards),
            Gate::Ask(ask) => {
                self.mood(
                    phase,
                    "Releasing",
                    format!("asks {} for its release", ask.release.migration),
                );
                if !self.failures.holds(&ask.key) {
                    self.course.release = Some(ask.release.clone());
                }
                self.course.ask = Some(ask);
            }
            Gate::Wait(reason, message) => self.mood(phase, reason, message),
            Gate::Stalled(message) | Gate::Refused(message) => {
                self.mood(phase, "MigrationFailed", message);
                self.course.mood.stalled = true;
            }
        }
        None
    }
}
