//! What becomes of the claims and Leases that there are.
//!
//! Decides which results are recorded, what is cancelled and what is forgotten; never what runs next.

use signalbox_common::wire::Action;
use signalbox_common::wire::action::CancelStep;
use signalbox_common::wire::observation::StepLease;
use signalbox_crds::claim::{Claim, ClaimState};
use signalbox_crds::migration::{AppliedFile, Phase};

use super::claims::{LEASE, Standing, WITHDRAWN, Wish, is_unsafe, standing, wish};
use super::state::{AMBIGUOUS, State};
use super::turn::Turn;
use super::view::{applied, compare, version_of};
use crate::draft::{Dependent as _, STATUS};
use crate::failure::later;

impl Turn<'_> {
    /// Records results, ends unwanted work, forgets what is over.
    pub(super) fn settle_claims(&mut self) {
        let view = self.view;
        for (key, claim) in &view.status.claims {
            let (wish, file) = wish(view, key, claim);
            match (claim.state, wish) {
                (_, Wish::Undecided)
                | (
                    ClaimState::Running
                    | ClaimState::Failed
                    | ClaimState::Cancelled
                    | ClaimState::Ambiguous,
                    Wish::Wanted,
                ) => {}
                (ClaimState::Succeeded, Wish::Wanted | Wish::Withdrawn | Wish::Outdated) => {
                    self.record(key, claim);
                }
                (ClaimState::Running, Wish::Withdrawn | Wish::Outdated) => {
                    self.revoke(key, claim, is_unsafe(wish, file));
                }
                (ClaimState::Ambiguous, Wish::Withdrawn) => {
                    let message = claim.message.clone().unwrap_or_default();
                    self.state = State::Stalled(AMBIGUOUS.to_owned(), message);
                }
                (ClaimState::Failed | ClaimState::Cancelled, Wish::Withdrawn | Wish::Outdated)
                | (ClaimState::Ambiguous, Wish::Outdated) => {
                    self.new.claims.remove(key);
                }
            }
        }
    }

    /// A file is applied.
    fn record(&mut self, key: &str, claim: &Claim) {
        let file = self.view.files.iter().find(|file| file.step() == key);
        let current = file.filter(|file| {
            self.view
                .step_id(file)
                .is_some_and(|id| id.to_string() == claim.step_id)
        });
        let version = key.strip_prefix("migrate-").unwrap_or(key);
        let done = AppliedFile {
            name: file.map_or_else(
                || format!("V{version}__removed.sql"),
                |file| file.name.clone(),
            ),
            // Nobody knows any more: then it counts as what is not safe.
            phase: file.map_or(Phase::Contract, |file| file.phase),
            // Another content than the present one: a mismatch, until that content is back.
            sha256: current
                .and_then(|file| file.digest.as_ref())
                .map(|digest| digest.sha256.clone())
                .unwrap_or_default(),
            step_id: claim.step_id.clone(),
            applied_at: claim
                .finished_at
                .unwrap_or(claim.started_at)
                .min(self.view.now()),
            effect_ms: claim.effect_ms.unwrap_or_default(),
        };
        self.decided = Some(("Applied", format!("{} is applied", done.name)));
        if applied(&self.new.applied, version).is_none() {
            self.new.applied.push(done);
            self.new
                .applied
                .sort_by(|a, b| compare(version_of(&a.name), version_of(&b.name)));
        }
        self.new.claims.remove(key);
    }

    /// What was applied after its file had been taken out or changed is known again once the file is back: the id of
    /// its step says what was applied.
    pub(super) fn recognise(&mut self) {
        let view = self.view;
        let unknown = |done: &&mut AppliedFile| done.sha256.is_empty();
        for done in self.new.applied.iter_mut().filter(unknown) {
            let back = view.files.iter().find_map(|file| {
                let is_it = view.step_id(file)?.to_string() == done.step_id;
                is_it.then_some((file, file.digest.as_ref()?))
            });
            if let Some((file, digest)) = back {
                done.name.clone_from(&file.name);
                done.phase = file.phase;
                done.sha256.clone_from(&digest.sha256);
            }
        }
    }

    /// Work that nobody wants any more is cancelled; what came of it is awaited.
    fn revoke(&mut self, key: &str, claim: &Claim, must_be_known: bool) {
        self.state = State::Running(format!("the work of {key} is being cancelled"));
        match standing(self.view, claim) {
            Standing::Live(lease) => {
                let asked = claim.cancelled_at.unwrap_or(self.view.now());
                if let Some(claim) = self.new.claims.get_mut(key) {
                    claim.cancelled_at = Some(asked);
                }
                let end = later(asked, LEASE);
                self.wake(if end > self.view.now() {
                    end
                } else {
                    later(self.view.now(), LEASE)
                });
                self.decided = Some(("Cancel", format!("{key} is not wanted any more")));
                self.cancel(key, &lease, true);
            }
            Standing::Unseen(end) => self.wake(end),
            Standing::Over if must_be_known => {
                let message = format!(
                    "{key} ended without a result after its release was withdrawn: it may be applied. \
                     Release it again to find out"
                );
                let now = self.view.now();
                if let Some(claim) = self.new.claims.get_mut(key) {
                    claim.state = ClaimState::Ambiguous;
                    claim.finished_at = Some(now);
                    claim.class = Some(WITHDRAWN.to_owned());
                    claim.message = Some(message.clone());
                }
                self.state = State::Stalled(AMBIGUOUS.to_owned(), message);
            }
            Standing::Over => {
                self.new.claims.remove(key);
                self.state = State::Applied(None);
            }
        }
    }

    /// Deletes the Leases that nobody renews. One without a uid was never there, or is gone: what is told of it
    /// is that its claim is over.
    pub(super) fn sweep_leases(&mut self) {
        let is_there = |lease: &&StepLease| lease.ended && !lease.uid.is_empty();
        for lease in self.view.seen.leases.iter().filter(is_there) {
            let claim = self
                .view
                .status
                .claims
                .iter()
                .find(|(_, claim)| claim.lease == lease.name);
            let step = claim.map_or_else(|| lease.name.clone(), |(key, _)| key.clone());
            self.cancel(&step, lease, false);
        }
    }

    /// Deletes a Lease; one that is renewed only once the status says since when its work is unwanted.
    fn cancel(&mut self, step: &str, lease: &StepLease, after_status: bool) {
        let key = format!("cancel/{}", lease.name);
        if self.assessment.holds(&key) {
            return self.hold(&key);
        }
        self.wanted.push(key.clone());
        let cancel = CancelStep {
            step: step.to_owned(),
            lease: lease.name.clone(),
            lease_uid: lease.uid.clone(),
        };
        let planned = self.draft.push(key, &lease.uid, Action::CancelStep(cancel));
        if after_status {
            planned.after(&[STATUS]);
        }
    }
}
