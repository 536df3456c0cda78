//! A rollout under way: forward through its steps, after its promotion, or back.
//!
//! Decides transitions; counts are live, times are stored starts.

use jiff::Timestamp;
use signalbox_crds::app::{RolloutState, RolloutStatus};

use super::{Course, Notice, complete, later, release, retire, steps};
use crate::portfolio::view::{View, asked, available};

/// Notes new ready pods: the deadline counts from there.
pub(super) fn progress(view: &View<'_>, rollout: &mut RolloutStatus, ready: i64) {
    let ready = i32::try_from(ready).unwrap_or(i32::MAX);
    if ready > rollout.progressed_ready {
        rollout.progressed_ready = ready;
        rollout.progressed_at = view.now();
    }
}

/// When a rollout has made no progress for too long.
pub(super) fn deadline(view: &View<'_>, rollout: Option<&RolloutStatus>) -> Timestamp {
    let from = rollout.map_or_else(|| view.now(), |r| r.progressed_at);
    later(from, view.spec.rollout.progress_deadline_seconds)
}

/// Migrating or Progressing.
pub(super) fn forward(view: &View<'_>, course: &mut Course, stable: &str) {
    let Some(revision) = course.rollout.as_ref().map(|r| r.revision.clone()) else {
        return;
    };
    if !release::expanded(view, course, &revision) {
        course.wants.insert(stable.to_owned(), view.replicas());
        return;
    }
    let deployments = view.deployments();
    let canary = deployments.get(revision.as_str()).copied();
    let ready = available(canary);
    let all = view.replicas();
    let plan = steps(view);
    let Some(rollout) = course.rollout.as_mut() else {
        return;
    };
    rollout.state = RolloutState::Progressing;
    progress(view, rollout, ready);
    let index = usize::try_from(rollout.step).unwrap_or(0);
    let (weight, pause) = plan.get(index).copied().unwrap_or((100, 0));
    rollout.weight = i32::try_from(weight).unwrap_or(100);
    let wanted = share(all, weight);
    let reached = canary.is_some() && ready >= wanted;
    if reached && rollout.step_reached_at.is_none() {
        rollout.step_reached_at = Some(view.now());
    }
    let pause_ends = rollout.step_reached_at.map(|at| later(at, pause));
    let moves_on = reached && !view.spec.paused && pause_ends.is_some_and(|end| end <= view.now());
    if moves_on && index >= plan.len() {
        return promote(view, course, stable, &revision);
    }
    if moves_on {
        rollout.step += 1;
        rollout.step_reached_at = None;
        rollout.progressed_at = view.now();
        let (weight, _) = plan.get(index + 1).copied().unwrap_or((100, 0));
        rollout.weight = i32::try_from(weight).unwrap_or(100);
    }
    let weight = i64::from(rollout.weight);
    let late = !reached && !view.spec.paused && deadline(view, Some(rollout)) <= view.now();
    if late {
        let why = format!(
            "{ready} of {wanted} pods of revision {revision} ready, none more for {} s",
            view.spec.rollout.progress_deadline_seconds
        );
        return give_up(view, course, stable, "ProgressDeadlineExceeded", &why);
    }
    if !reached {
        let at = deadline(view, course.rollout.as_ref());
        course.wake_at(at);
    } else if let Some(end) = pause_ends.filter(|end| *end > view.now()) {
        course.wake_at(end);
    }
    if !view.spec.paused || canary.is_some() {
        course.build = Some(revision.clone()).filter(|r| *r == view.revision);
    }
    spread(view, course, stable, &revision, share(all, weight));
    let number = index + usize::from(moves_on);
    course.say(
        "Progressing",
        "Progressing",
        format!(
            "revision {revision}: step {} of {}, {weight} %, {ready} of {} pods ready",
            number + 1,
            plan.len() + 1,
            share(all, weight)
        ),
    );
}

/// Pods of the new revision at a weight, rounded up.
fn share(all: i64, weight: i64) -> i64 {
    ((all * weight + 99) / 100).clamp(0, all.max(0))
}

/// Replicas of both sides at a step: the new side first; the old one is lowered once the new one is there.
fn spread(view: &View<'_>, course: &mut Course, stable: &str, revision: &str, wanted: i64) {
    let deployments = view.deployments();
    let all = view.replicas();
    let canary = deployments.get(revision).copied();
    let ready = available(canary);
    // A revision is created without pods; they come in a later plan.
    course.wants.insert(
        revision.to_owned(),
        if canary.is_some() { wanted } else { 0 },
    );
    let now = asked(deployments.get(stable).copied());
    let keep = if ready >= wanted {
        course.rests_on = Some((revision.to_owned(), wanted));
        (all - wanted).max(all.min(1))
    } else {
        now.min(all).max(all - ready.min(wanted))
    };
    course.wants.insert(stable.to_owned(), keep);
    // What was abandoned on the way goes once the two have the capacity.
    let capacity = available(deployments.get(stable).copied()) + ready;
    for (other, live) in &deployments {
        if *other != stable && *other != revision && asked(Some(live)) > 0 && capacity >= all {
            course.wants.insert((*other).to_owned(), 0);
        }
    }
}

/// The Service turns to the new revision.
fn promote(view: &View<'_>, course: &mut Course, stable: &str, revision: &str) {
    let all = view.replicas();
    if let Some(rollout) = course.rollout.as_mut() {
        rollout.state = RolloutState::Promoted;
        rollout.weight = 100;
        rollout.promoted_at = Some(view.now());
    }
    course.stable = Some(revision.to_owned());
    course.serves = Some(revision.to_owned());
    course.serves_rests_on = Some((revision.to_owned(), all));
    course.build = Some(revision.to_owned()).filter(|r| *r == view.revision);
    course.wants.insert(revision.to_owned(), all);
    course.wake_at(later(view.now(), view.spec.rollout.drain_seconds));
    course.notice = Some(Notice {
        warning: false,
        reason: "Promoted",
        note: format!("revision {revision} serves instead of {stable}"),
        revision: revision.to_owned(),
    });
    course.say(
        "Progressing",
        "Draining",
        format!("revision {revision} serves; {stable} drains"),
    );
}

/// Promoted or Contracting: the old side drains and goes, contract migrations run.
pub(super) fn after_promotion(view: &View<'_>, course: &mut Course) {
    let Some(rollout) = course.rollout.clone() else {
        return;
    };
    let revision = rollout.revision.clone();
    let deployments = view.deployments();
    course.build = Some(revision.clone()).filter(|r| *r == view.revision);
    course.wants.insert(revision.clone(), view.replicas());
    let drained = later(
        rollout.promoted_at.unwrap_or(rollout.started_at),
        view.spec.rollout.drain_seconds,
    );
    let others = deployments
        .iter()
        .any(|(r, d)| *r != revision && asked(Some(d)) > 0);
    if others && drained > view.now() {
        course.wake_at(drained);
        course.say(
            "Progressing",
            "Draining",
            format!("revision {revision} serves; the old one drains"),
        );
        return;
    }
    retire(view, course, &revision);
    if others {
        course.say(
            "Progressing",
            "Draining",
            format!("revision {revision} serves; the old one goes"),
        );
        return;
    }
    complete(view, course, &revision);
}

/// The new revision has failed or is not wanted any more: back to the stable one.
pub(super) fn give_up(
    view: &View<'_>,
    course: &mut Course,
    stable: &str,
    reason: &'static str,
    why: &str,
) {
    let Some(rollout) = course.rollout.as_mut() else {
        return;
    };
    rollout.state = RolloutState::RollingBack;
    rollout.message = Some(format!("{reason}: {why}"));
    let revision = rollout.revision.clone();
    if reason != "Aborted" {
        course.failed = Some(revision.clone());
    }
    course.notice = Some(Notice {
        warning: reason != "Aborted",
        reason: if reason == "Aborted" {
            "RolloutAborted"
        } else {
            "RolledBack"
        },
        note: format!("revision {revision} is rolled back to {stable}: {why}"),
        revision,
    });
    rolling_back(view, course, stable);
}

/// The release is withdrawn, the stable side gets its full capacity, then the other goes.
pub(super) fn rolling_back(view: &View<'_>, course: &mut Course, stable: &str) {
    let why = course
        .rollout
        .as_ref()
        .and_then(|r| r.message.clone())
        .unwrap_or_default();
    course.say(
        "RollingBack",
        "RollingBack",
        format!("going back to revision {stable}: {why}"),
    );
    if !release::withdrawn(view, course, stable) {
        return;
    }
    course.wants.insert(stable.to_owned(), view.replicas());
    if view.revision == stable {
        course.build = Some(stable.to_owned());
    }
    retire(view, course, stable);
    let others = view
        .deployments()
        .iter()
        .any(|(r, d)| *r != stable && asked(Some(d)) > 0);
    if others {
        return;
    }
    if let Some(rollout) = course.rollout.as_mut() {
        rollout.state = RolloutState::RolledBack;
        rollout.weight = 0;
        rollout.finished_at = rollout.finished_at.or(Some(view.now()));
    }
    course.say(
        "RolledBack",
        "RolledBack",
        format!("revision {stable} serves: {why}"),
    );
}
