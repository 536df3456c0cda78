//! One turn of a migration: the plan and the status in the making.
//!
//! Decides what the status says; what becomes of the claims that there are is decided in
//! [`super::settle`], what runs next in [`super::next`].

use jiff::Timestamp;
use signalbox_common::digest;
use signalbox_common::wire::PlannedAction;
use signalbox_crds::claim::ClaimState;
use signalbox_crds::condition::{LastDecision, LastFailure, merge};
use signalbox_crds::migration::DatabaseMigrationStatus;

use super::state::State;
use super::view::{View, applied, version_of};
use crate::draft::{Dependent as _, Draft, STATUS};
use crate::failure::{Assessment, PLAN, assess};
use crate::status;

/// One turn.
pub(super) struct Turn<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) draft: Draft,
    /// The status after the turn.
    pub(super) new: DatabaseMigrationStatus,
    pub(super) state: State,
    /// What failures of actions mean now.
    pub(super) assessment: Assessment,
    /// Keys of the actions that are done or held back.
    pub(super) wanted: Vec<String>,
    /// A failure that is no action's: of SQL, or of a file that is nowhere.
    pub(super) failure: Option<LastFailure>,
    /// What was decided, and why.
    pub(super) decided: Option<(&'static str, String)>,
    until: Option<Timestamp>,
}

impl<'a> Turn<'a> {
    /// A turn in which nothing is decided yet.
    pub(super) fn new(view: &'a View<'a>) -> Self {
        let before = view
            .status
            .last_failure
            .as_ref()
            .filter(|failure| !is_of_a_file(failure));
        Self {
            view,
            draft: Draft::new(&view.seen.uid),
            new: view.status.clone(),
            state: State::Applied(None),
            assessment: assess(view.seen, before, view.generation),
            wanted: Vec::new(),
            failure: None,
            decided: None,
            until: None,
        }
    }

    /// Whether nothing but the status may be written now.
    pub(super) fn is_held_whole(&self) -> bool {
        self.assessment.held.as_deref() == Some(PLAN)
    }

    /// Tells why nothing is done now.
    pub(super) fn hold_whole(&mut self) {
        self.failure = self.view.status.last_failure.clone().filter(is_of_a_file);
        self.hold(PLAN);
    }

    /// Notes that the action `key` is wanted but held back.
    pub(super) fn hold(&mut self, key: &str) {
        self.wanted.push(key.to_owned());
        let failure = self.assessment.last_failure.clone();
        let (class, message) = failure.map(|f| (f.class, f.message)).unwrap_or_default();
        self.state = match &self.assessment.stalled {
            Some(reason) => State::Stalled(reason.clone(), message),
            None => State::Retrying(class, message),
        };
        if let Some(until) = self.assessment.until {
            self.wake(until);
        }
    }

    /// Asks to look again at that time, unless earlier is asked for.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.until = Some(self.until.map_or(at, |before| before.min(at)));
    }

    /// The plan: everything decided, and one status write behind it if status differs.
    pub(super) fn finish(mut self) -> Draft {
        let view = self.view;
        let old = &view.status;
        let (reason, message) = self.state.why();
        let (reason, message) = (reason.to_owned(), message);
        if let State::Stalled(..) = self.state {
            let told = old.conditions.iter().any(|c| {
                c.type_ == signalbox_crds::condition::STALLED
                    && c.status == signalbox_crds::condition::ConditionStatus::True
                    && c.reason == reason
            });
            self.decided = (!told).then(|| ("Stall", format!("{reason}: {message}")));
        }
        self.new.observed_generation = view.generation;
        self.new.phase = Some(self.state.phase().to_owned());
        self.new.conditions = merge(
            &old.conditions,
            &self.state.conditions(),
            view.generation,
            view.now(),
        );
        self.summarise();
        self.new.next_wake = self.until;
        self.new.last_failure = self
            .assessment
            .clone()
            .settle(&self.wanted)
            .or(self.failure);
        if let Some((action, reason)) = self.decided {
            self.new.last_decision = Some(LastDecision {
                action: action.to_owned(),
                reason,
                value: None,
                threshold: None,
                actor: view.seen.cause.actor(),
                reconcile_id: view.seen.reconcile_id.to_string(),
            });
        }
        let late = |planned: &&PlannedAction| planned.after.iter().any(|key| key == STATUS);
        let early = self.draft.actions.iter().filter(|planned| !late(planned));
        let before: Vec<String> = early.map(|planned| planned.key.clone()).collect();
        if let Some(patch) = status::patch(view.object, old, &self.new) {
            let occurrence = digest::short_of_json(&patch, 32);
            self.draft.push(STATUS, &occurrence, patch).after(&before);
        }
        if !matches!(self.state, State::Applied(_)) {
            self.draft.wait(self.until, message);
        }
        self.draft
    }

    /// Version, pending files, release.
    fn summarise(&mut self) {
        let view = self.view;
        let is_applied = |version: &str| applied(&self.new.applied, version).is_some();
        let newest = self
            .new
            .applied
            .last()
            .map(|done| version_of(&done.name).to_owned());
        let pending = view
            .files
            .iter()
            .filter(|file| !is_applied(&file.version))
            .count();
        let release = view.spec.release.as_ref().filter(|release| {
            let mut due = view
                .files
                .iter()
                .filter(|f| f.phase <= release.phase && view.allows(f.phase));
            let idle = self
                .new
                .claims
                .values()
                .all(|claim| claim.state != ClaimState::Running);
            // What is over stays over, whatever files come later.
            view.release_is_over()
                || due.all(|file| is_applied(&file.version))
                    && idle
                    && !matches!(self.state, State::Stalled(..))
        });
        self.new.released = release.cloned();
        self.new.version = newest;
        self.new.pending = i32::try_from(pending).unwrap_or(i32::MAX);
    }
}

/// Whether it is a failure of a file and not of an action.
pub(super) fn is_of_a_file(failure: &LastFailure) -> bool {
    failure.action.starts_with("sql/") || failure.action.starts_with("file/")
}
