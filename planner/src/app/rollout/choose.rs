//! Which rollout there is: the one under way, a new one, or none.
//!
//! Decides when a changed spec begins a rollout and when it waits; never how a rollout proceeds.

use signalbox_crds::app::{RolloutState, RolloutStatus};

use super::Chart;
use super::steps::weight_of;

/// Whether a rollout is under way.
pub(super) const fn is_active(state: RolloutState) -> bool {
    match state {
        RolloutState::Migrating
        | RolloutState::Progressing
        | RolloutState::Promoted
        | RolloutState::Contracting
        | RolloutState::RollingBack => true,
        RolloutState::Completed | RolloutState::RolledBack => false,
    }
}

impl Chart<'_, '_> {
    /// Sets the rollout that is run.
    pub(super) fn choose(&mut self) {
        let wanted = self.app.revision.clone();
        let active = self
            .course
            .rollout
            .clone()
            .filter(|rollout| is_active(rollout.state));
        if self.app.spec.paused {
            return;
        }
        let stable = self.course.stable.clone();
        let Some(stable) = stable else {
            if active.is_none_or(|rollout| rollout.revision != wanted) {
                self.begin(None);
            }
            return;
        };
        let Some(rollout) = active else {
            if wanted != stable && self.course.failed.is_none() {
                self.begin(Some(stable));
            }
            return;
        };
        match rollout.state {
            RolloutState::Migrating | RolloutState::Progressing => {
                if wanted == stable {
                    self.turn_back(
                        rollout,
                        "the spec is back at the stable revision".to_owned(),
                    );
                } else if wanted != rollout.revision {
                    self.begin(Some(stable));
                }
            }
            RolloutState::Contracting | RolloutState::RollingBack => {
                let is_news = wanted != stable && wanted != rollout.revision;
                if is_news && self.course.failed.is_none() {
                    self.begin(Some(stable));
                }
            }
            // What comes next begins behind the drain, or where it can't end.
            RolloutState::Promoted | RolloutState::Completed | RolloutState::RolledBack => {}
        }
    }

    fn begin(&mut self, base: Option<String>) {
        let revision = self.app.revision.clone();
        let state = match self.app.spec.migrations {
            Some(_) => RolloutState::Migrating,
            None => RolloutState::Progressing,
        };
        let now = self.now();
        let reason = match &base {
            Some(base) => format!("the spec asks for revision {revision} instead of {base}"),
            None => format!("the spec asks for revision {revision}"),
        };
        self.course.rollout = Some(RolloutStatus {
            base,
            state,
            step: 0,
            weight: weight_of(&self.app.spec.rollout, 0).unwrap_or(100),
            started_at: now,
            progressed_at: now,
            progressed_ready: self.revision(&revision).available(),
            step_reached_at: None,
            promoted_at: None,
            finished_at: None,
            message: None,
            revision,
        });
        self.decide("StartRollout", reason);
    }

    /// Gives up the rollout without a failure.
    fn turn_back(&mut self, rollout: RolloutStatus, why: String) {
        self.decide("TurnBack", why.clone());
        self.course.rollout = Some(RolloutStatus {
            state: RolloutState::RollingBack,
            message: Some(why),
            ..rollout
        });
    }
}
