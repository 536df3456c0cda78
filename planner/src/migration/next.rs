//! What a migration does next: resolve its files, claim the next one, wait or stop.
//!
//! Decides one thing a turn; never two files at once.

use signalbox_common::backoff;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::action::{ClaimStep, Effect, SqlEffect};
use signalbox_common::wire::{Action, Cause};
use signalbox_crds::claim::{Claim, ClaimState};
use signalbox_crds::condition::{LastFailure, clip};
use signalbox_crds::migration::{ContractPolicy, FileDigest, Phase};

use super::claims::{LEASE, Standing, WITHDRAWN, Wish, lease, standing, wish};
use super::state::{AMBIGUOUS, State};
use super::turn::{Turn, is_of_a_file};
use super::view::{File, View, applied};
use crate::draft::Dependent as _;
use crate::failure::later;
use crate::variant::{self, Variant};

impl Turn<'_> {
    /// Decides what comes next.
    pub(super) fn next(&mut self) {
        let view = self.view;
        self.failure = view.status.last_failure.clone().filter(is_of_a_file);
        if let Some(message) = view.misnamed() {
            self.state = State::Stalled("InvalidFiles".to_owned(), message);
            return;
        }
        if !view.outside().is_empty() && !view.source_is_current() {
            return self.resolve("");
        }
        // Unwanted work is not over yet, or a person is needed.
        if self.state != State::Applied(None) {
            return;
        }
        if let Some(message) = self.mismatch() {
            self.state = State::Stalled("ChecksumMismatch".to_owned(), message);
            return;
        }
        let running = view.status.claims.iter().find(|(key, claim)| {
            claim.state == ClaimState::Running && wish(view, key, claim).0 == Wish::Wanted
        });
        let file = match running {
            Some((key, _)) => view.files.iter().find(|file| file.step() == *key),
            None => view.files.iter().find(|file| {
                view.allows(file.phase) && applied(&self.new.applied, &file.version).is_none()
            }),
        };
        match file {
            Some(file) => self.advance(file),
            None => self.rest(),
        }
    }

    /// Nothing is left that may run.
    fn rest(&mut self) {
        let view = self.view;
        self.failure = None;
        let left = view
            .files
            .iter()
            .any(|f| applied(&self.new.applied, &f.version).is_none());
        self.state = match (&view.spec.app, &view.spec.release) {
            (Some(_), None) => State::AwaitingRelease,
            (Some(_), Some(release)) if left && release.phase == Phase::Expand => State::Applied(
                Some("contract files wait for the app's promotion".to_owned()),
            ),
            (Some(_), Some(_))
                if left && view.release_is_over() && view.spec.contract == ContractPolicy::Auto =>
            {
                State::Applied(Some(
                    "contract files wait for the app's next release".to_owned(),
                ))
            }
            (None, _) | (Some(_), Some(_)) if left => State::Applied(Some(
                "contract files are not run by themselves (spec.contract: Manual)".to_owned(),
            )),
            (None, _) | (Some(_), Some(_)) => State::Applied(None),
        };
    }

    /// Brings one file a step further.
    fn advance(&mut self, file: &File) {
        let view = self.view;
        let action = format!("sql/{}", file.step());
        let claim = view.status.claims.get(&file.step());
        let current = claim.filter(|claim| wish(view, &file.step(), claim).0 == Wish::Wanted);
        if file.digest.is_none() {
            return self.missing(file);
        }
        self.failure = self
            .failure
            .take()
            .filter(|f| f.action == action && current.is_some());
        match current.map(|claim| (claim, claim.state)) {
            None | Some((_, ClaimState::Succeeded)) => self.claim(file, 1),
            Some((claim, ClaimState::Running)) => match standing(view, claim) {
                Standing::Live(_) => self.state = running(file, claim.attempt),
                Standing::Unseen(end) => {
                    self.state = running(file, claim.attempt);
                    self.wake(end);
                }
                Standing::Over => self.again(file, claim),
            },
            Some((claim, ClaimState::Cancelled)) => self.again(file, claim),
            Some((claim, ClaimState::Failed)) => self.retry(file, claim),
            Some((claim, ClaimState::Ambiguous)) => {
                // Released again: another attempt is how one finds out.
                let withdrawn = claim.class.as_deref() == Some(WITHDRAWN);
                if is_retry(&view.seen.cause) || withdrawn {
                    return self.again(file, claim);
                }
                let message = claim.message.clone().unwrap_or_default();
                self.state = State::Stalled(AMBIGUOUS.to_owned(), message);
            }
        }
    }

    /// A file failed: later, at once, or not without a person.
    fn retry(&mut self, file: &File, claim: &Claim) {
        let view = self.view;
        let label = claim.class.clone().unwrap_or_default();
        let class = ErrorClass::from_label(&label).unwrap_or(ErrorClass::Transient);
        let message = claim
            .message
            .clone()
            .unwrap_or_else(|| format!("{} failed", file.name));
        let mut failure = failure_of(view, file, claim, (class, &message));
        let stalled = if is_retry(&view.seen.cause) {
            None
        } else if class == ErrorClass::Ambiguous {
            Some(AMBIGUOUS)
        } else if class == ErrorClass::Invalid {
            Some("Invalid")
        } else {
            (claim.attempt >= view.spec.retry.max_attempts).then_some("RetriesExhausted")
        };
        if let Some(reason) = stalled {
            failure.until = None;
            self.failure = Some(failure);
            self.state = State::Stalled(reason.to_owned(), message);
            return;
        }
        let until = failure
            .until
            .filter(|t| *t > view.now() && !is_retry(&view.seen.cause));
        self.failure = Some(failure);
        match until {
            Some(until) => {
                self.state = State::Retrying(class.label().to_owned(), message);
                self.wake(until);
            }
            None => self.claim(file, claim.attempt.saturating_add(1)),
        }
    }

    /// A claim ended without a result: the next attempt, within the limit.
    fn again(&mut self, file: &File, claim: &Claim) {
        if claim.attempt >= self.view.spec.retry.max_attempts && !is_retry(&self.view.seen.cause) {
            let message = format!(
                "{}: attempt {} ended without a result",
                file.name, claim.attempt
            );
            self.state = State::Stalled("RetriesExhausted".to_owned(), message);
            return;
        }
        self.claim(file, claim.attempt.saturating_add(1));
    }

    /// Claims a file.
    fn claim(&mut self, file: &File, attempt: u32) {
        let view = self.view;
        let key = file.step();
        let (Some(digest), Some(id), Some(occurrence)) = (
            file.digest.clone(),
            view.step_id(file),
            view.occurrence(file),
        ) else {
            return;
        };
        if view.spec.paused {
            self.state = State::Paused;
            return;
        }
        if self.assessment.holds(&key) {
            return self.hold(&key);
        }
        let hex = id.0.simple().to_string();
        let name = format!("sb-{}-{attempt}", hex.get(..12).unwrap_or_default());
        self.wanted.push(key.clone());
        self.state = running(file, attempt);
        if lease(view, &name).is_some_and(|lease| !lease.ended) {
            // Somebody holds the Lease without a claim: begins right now, or is gone and shows so soon.
            let asked = view.status.next_wake.filter(|at| *at > view.now());
            self.wake(asked.unwrap_or_else(|| later(view.now(), LEASE)));
            return;
        }
        let before = self.draft.keys();
        let action = Action::ClaimStep(ClaimStep {
            step: key.clone(),
            attempt,
            lease: name,
            resource_version: view.object.resource_version.clone(),
            effect: Effect::Sql(effect(view, file, digest)),
        });
        self.draft.push(key, &occurrence, action).after(&before);
        self.decided = Some(("Apply", format!("{}, attempt {attempt}", file.name)));
    }

    /// What is applied with another content than it has now.
    fn mismatch(&self) -> Option<String> {
        self.view.files.iter().find_map(|file| {
            let done = applied(&self.new.applied, &file.version)?;
            let digest = file.digest.as_ref()?;
            (done.sha256 != digest.sha256).then(|| {
                format!(
                    "{} was changed after it had been applied; restore it, add a new version",
                    file.name
                )
            })
        })
    }
}

fn running(file: &File, attempt: u32) -> State {
    State::Running(format!(
        "{} is being applied (attempt {attempt})",
        file.name
    ))
}

/// Whether a person asked for another try.
fn is_retry(cause: &Cause) -> bool {
    matches!(cause, Cause::Command { command } if command.split_whitespace().next() == Some("retry"))
}

fn failure_of(
    view: &View<'_>,
    file: &File,
    claim: &Claim,
    (class, message): (ErrorClass, &str),
) -> LastFailure {
    let action = format!("sql/{}", file.step());
    let finished = claim
        .finished_at
        .unwrap_or(claim.started_at)
        .min(view.now());
    let before = view
        .status
        .last_failure
        .as_ref()
        .filter(|f| f.action == action);
    let known = before.filter(|f| f.attempts == claim.attempt);
    let wait = backoff::after(class, claim.attempt, backoff::jitter_of(&claim.step_id));
    LastFailure {
        action,
        class: class.label().to_owned(),
        message: clip(message, 1024),
        attempts: claim.attempt,
        since: before.map_or(finished, |f| f.since),
        last: known.map_or(finished, |f| f.last),
        generation: known.map_or(view.generation, |f| f.generation),
        until: Some(later(finished, wait)),
        reconcile_id: None,
    }
}

fn effect(view: &View<'_>, file: &File, digest: FileDigest) -> SqlEffect {
    let timeouts = &view.spec.timeouts;
    // The one rule of the changed build, by which a replay proves that it sees differences.
    let patience = if variant::chosen() == Variant::ChangedRule {
        2
    } else {
        1
    };
    SqlEffect {
        url_from: view.spec.target.url_from.clone(),
        history_schema: view.spec.target.history_schema.clone(),
        file: digest,
        version: file.version.clone(),
        phase: file.phase,
        config_map: view.spec.config_map.clone().filter(|_| !file.inline),
        lock_seconds: timeouts.lock_seconds.saturating_mul(patience),
        statement_seconds: timeouts.statement_seconds,
        history_lock_seconds: timeouts.history_lock_seconds,
    }
}
