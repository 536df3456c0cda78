//! The course of an app: which revision serves, how many pods each has, what comes next and why.
//!
//! Decides from stored times and live counts alone, one transition at a time; never writes. Capacity is lowered
//! only where the live counts show that it is not needed, so what must come later comes in a later plan.

mod active;
mod release;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use signalbox_crds::app::{RolloutState, RolloutStatus, Strategy};
use signalbox_crds::migration::Phase;

use super::view::{View, asked, available};

/// An Event for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) note: String,
    pub(crate) revision: String,
}

/// The course of an app.
#[derive(Clone, Debug, Default)]
pub(crate) struct Course {
    pub(crate) rollout: Option<RolloutStatus>,
    pub(crate) stable: Option<String>,
    pub(crate) failed: Option<String>,
    /// The revision whose Deployment and `ConfigMap` exist as rendered; none: not yet.
    pub(crate) build: Option<String>,
    /// Replicas by revision; revisions without an entry are left alone.
    pub(crate) wants: BTreeMap<String, i64>,
    /// What lowering rests on: revision and its least available pods.
    pub(crate) rests_on: Option<(String, i64)>,
    /// The revision that the Service names.
    pub(crate) serves: Option<String>,
    /// What turning the Service rests on.
    pub(crate) serves_rests_on: Option<(String, i64)>,
    /// The release that the migration must have.
    pub(crate) release: Option<(Phase, String)>,
    pub(crate) phase: &'static str,
    pub(crate) ready: bool,
    pub(crate) stalled: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) wake: Option<Timestamp>,
    pub(crate) notice: Option<Notice>,
}

impl Course {
    fn say(&mut self, phase: &'static str, reason: &'static str, message: impl Into<String>) {
        self.phase = phase;
        self.reason = reason;
        self.message = message.into();
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |known| known.min(at)));
    }
}

/// Weights and pauses of the steps.
pub(crate) fn steps(view: &View<'_>) -> Vec<(i64, i64)> {
    let rollout = &view.spec.rollout;
    match rollout.strategy {
        Strategy::Rolling => vec![(25, 0), (50, 0), (75, 0)],
        Strategy::Canary if rollout.steps.is_empty() => vec![(DEFAULT_WEIGHT, 0)],
        Strategy::Canary => rollout
            .steps
            .iter()
            .map(|s| (i64::from(s.weight), s.pause_seconds))
            .collect(),
    }
}

/// Weight of the one step of a canary that names none.
#[cfg(not(feature = "changed-rule"))]
const DEFAULT_WEIGHT: i64 = 20;
/// The one rule in which the build for the replay test differs.
#[cfg(feature = "changed-rule")]
const DEFAULT_WEIGHT: i64 = 30;

/// `from` and `seconds` later.
pub(crate) fn later(from: Timestamp, seconds: i64) -> Timestamp {
    from.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

/// The course from what is seen.
pub(crate) fn course(view: &View<'_>) -> Course {
    let status = view.status;
    let mut course = Course {
        rollout: status.rollout.clone(),
        stable: status.stable.clone(),
        failed: status.failed_revision.clone(),
        ..Course::default()
    };
    match course.stable.clone() {
        None => first(view, &mut course),
        Some(stable) => following(view, &mut course, &stable),
    }
    if view.spec.paused {
        hold(view, &mut course);
    }
    course
}

/// No revision has ever served.
fn first(view: &View<'_>, course: &mut Course) {
    let target = view.revision.clone();
    let known = course
        .rollout
        .as_ref()
        .is_some_and(|r| r.revision == target);
    if !known {
        course.rollout = Some(begun(view, &target, None));
    }
    course.serves = Some(target.clone());
    if !release::expanded(view, course, &target) {
        return;
    }
    // Nothing serves, so what was there before may go at once.
    for revision in view.deployments().keys().filter(|r| **r != target) {
        course.wants.insert((*revision).to_owned(), 0);
    }
    course.build = Some(target.clone());
    course.wants.insert(target.clone(), view.replicas());
    let ready = available(view.deployments().get(target.as_str()).copied());
    let Some(rollout) = course.rollout.as_mut() else {
        return;
    };
    rollout.state = RolloutState::Progressing;
    rollout.weight = 100;
    active::progress(view, rollout, ready);
    let exists = view.deployments().contains_key(target.as_str());
    if exists && ready >= view.replicas() {
        course.stable = Some(target.clone());
        complete(view, course, &target);
        return;
    }
    let deadline = active::deadline(view, course.rollout.as_ref());
    let wanted = view.replicas();
    if deadline <= view.now() {
        course.stalled = true;
        course.say("Stalled", "ProgressDeadlineExceeded", format!(
            "revision {target}: {ready} of {wanted} pods ready, none more for {} s; there is no revision to go back to",
            view.spec.rollout.progress_deadline_seconds
        ));
    } else {
        course.wake_at(deadline);
        course.say(
            "Progressing",
            "Progressing",
            format!("revision {target}: {ready} of {wanted} pods ready"),
        );
    }
}

/// A revision serves.
fn following(view: &View<'_>, course: &mut Course, stable: &str) {
    let target = view.revision.clone();
    course.serves = Some(stable.to_owned());
    let state = course.rollout.as_ref().map(|r| r.state);
    let current = course.rollout.as_ref().map(|r| r.revision.clone());
    match state {
        Some(RolloutState::Promoted | RolloutState::Contracting) => {
            return active::after_promotion(view, course);
        }
        Some(RolloutState::RollingBack) => return active::rolling_back(view, course, stable),
        Some(RolloutState::Migrating | RolloutState::Progressing) if view.spec.paused => {
            return active::forward(view, course, stable);
        }
        Some(RolloutState::Migrating | RolloutState::Progressing) => {
            if current.as_deref() == Some(target.as_str()) {
                return active::forward(view, course, stable);
            }
            if target == stable {
                return active::give_up(
                    view,
                    course,
                    stable,
                    "Aborted",
                    "the spec went back to the stable revision",
                );
            }
        }
        Some(RolloutState::Completed | RolloutState::RolledBack) | None => {}
    }
    let refused = course.failed.as_deref() == Some(target.as_str());
    if target != stable && !refused && !view.spec.paused {
        course.rollout = Some(begun(view, &target, Some(stable)));
        course.failed = None;
        return active::forward(view, course, stable);
    }
    steady(view, course, stable, refused);
}

/// Nothing is under way: one revision serves.
fn steady(view: &View<'_>, course: &mut Course, stable: &str, refused: bool) {
    if view.revision == stable {
        course.build = Some(stable.to_owned());
        course.failed = None;
        if let Some(rollout) = course
            .rollout
            .as_mut()
            .filter(|r| r.state == RolloutState::RolledBack)
        {
            rollout.message = None;
        }
    }
    course.wants.insert(stable.to_owned(), view.replicas());
    retire(view, course, stable);
    if refused {
        let why = course
            .rollout
            .as_ref()
            .and_then(|r| r.message.clone())
            .unwrap_or_default();
        course.say(
            "RolledBack",
            "RolledBack",
            format!("revision {} was rolled back: {why}", view.revision),
        );
        return;
    }
    let ready = available(view.deployments().get(stable).copied());
    finished(view, course, stable, ready);
}

/// Ready, or on the way there without a rollout (scaling, repair).
fn finished(view: &View<'_>, course: &mut Course, stable: &str, ready: i64) {
    let wanted = view.replicas();
    if ready >= wanted {
        course.ready = true;
        course.say(
            "Ready",
            "Ready",
            format!("revision {stable}: {ready} of {wanted} pods ready"),
        );
    } else {
        course.say(
            "Progressing",
            "Scaling",
            format!("revision {stable}: {ready} of {wanted} pods ready"),
        );
    }
}

/// The rollout of `revision` is done.
fn complete(view: &View<'_>, course: &mut Course, revision: &str) {
    if release::contracts(view, course, revision) {
        if let Some(rollout) = course.rollout.as_mut() {
            rollout.state = RolloutState::Contracting;
        }
        course.say(
            "Progressing",
            "Contracting",
            format!("revision {revision} serves; contract migrations run"),
        );
        return;
    }
    if let Some(rollout) = course.rollout.as_mut() {
        rollout.state = RolloutState::Completed;
        rollout.finished_at = rollout.finished_at.or(Some(view.now()));
    }
    let ready = available(view.deployments().get(revision).copied());
    finished(view, course, revision, ready);
}

/// Revisions beside `keep` lose their pods once `keep` has its capacity.
fn retire(view: &View<'_>, course: &mut Course, keep: &str) {
    let deployments = view.deployments();
    let ready = available(deployments.get(keep).copied());
    let capacity = view.replicas();
    for (revision, live) in &deployments {
        if *revision != keep && asked(Some(live)) > 0 && ready >= capacity {
            course.wants.insert((*revision).to_owned(), 0);
            course.rests_on = Some((keep.to_owned(), capacity));
        }
    }
}

/// The user holds the app: says so where nothing worse is to be said.
fn hold(view: &View<'_>, course: &mut Course) {
    if course.stalled {
        return;
    }
    let pending = course.stable.as_deref() != Some(view.revision.as_str());
    let message = if pending {
        format!("paused; revision {} waits", view.revision)
    } else {
        format!("paused; {}", course.message)
    };
    course.say("Paused", "Paused", message);
}

fn begun(view: &View<'_>, revision: &str, base: Option<&str>) -> RolloutStatus {
    RolloutStatus {
        revision: revision.to_owned(),
        base: base.map(str::to_owned),
        state: RolloutState::Progressing,
        step: 0,
        weight: 0,
        started_at: view.now(),
        progressed_at: view.now(),
        progressed_ready: 0,
        step_reached_at: None,
        promoted_at: None,
        finished_at: None,
        message: None,
    }
}
