//! Capacity: how many pods each revision gets, so that never fewer serve than are wanted.
//!
//! Raises at once and lowers only what others already carry, with a guard on them. Decides nothing about
//! when a step is over.

use signalbox_common::wire::plan::Guard;

use super::{Chart, Size};
use crate::app::world::Revision;

/// What the old revision may do at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    /// Gives way to the new pods that serve, but keeps this many.
    GivesWay { keeps: i32 },
    /// Keeps what it has.
    Stays,
}

impl Chart<'_, '_> {
    /// One revision carries everything; the others go if they may, once it does.
    pub(super) fn size_alone(&mut self, main: &str, others_go: bool) {
        let all = self.app.replicas();
        let main = self.revision(main);
        self.resize(&main, all, Vec::new());
        if others_go && self.carries(&main) && main.deployment.is_some() {
            let guards: Vec<Guard> = main.guard(all).into_iter().collect();
            self.empty_others(&[&main.hash], &guards);
        }
    }

    /// Two revisions share: `canary` pods are to be of the new one.
    pub(super) fn size_shared(
        &mut self,
        new: &Revision<'_>,
        old: &Revision<'_>,
        canary: i32,
        way: Old,
    ) {
        let all = self.app.replicas();
        let carried = new.available().min(canary);
        let settled = new.is_current() && new.available() >= canary;
        let kept = (all - carried).max(old.asked().min(all));
        let old_to = match way {
            Old::GivesWay { keeps } if settled => (all - canary).max(keeps).min(all),
            Old::GivesWay { .. } | Old::Stays => kept,
        };
        let rests_on_new: Vec<Guard> = if old_to < all {
            new.guard(all - old_to).into_iter().collect()
        } else {
            Vec::new()
        };
        if old_to >= old.asked() {
            self.resize(old, old_to, Vec::new());
        } else {
            self.resize(old, old_to, rests_on_new);
        }
        let rest = (all - canary).max(0);
        if canary >= new.asked() {
            self.resize(new, canary, Vec::new());
        } else if old.available() >= rest {
            let guards = if rest > 0 {
                old.guard(rest).into_iter().collect()
            } else {
                Vec::new()
            };
            self.resize(new, canary, guards);
        }
        let old_share = (all - carried).max(0);
        if old.available() >= old_share {
            let on_old = (old_share > 0).then(|| old.guard(old_share)).flatten();
            let on_new = (carried > 0).then(|| new.guard(carried)).flatten();
            let guards: Vec<Guard> = [on_old, on_new].into_iter().flatten().collect();
            self.empty_others(&[&new.hash, &old.hash], &guards);
        }
    }

    /// Whether as many pods of a revision serve as are wanted.
    pub(super) fn carries(&self, revision: &Revision<'_>) -> bool {
        revision.available() >= self.app.replicas()
    }

    /// What turning the Service to a revision rests on: that it carries everything.
    pub(super) fn proof_that_carries(&self, revision: &Revision<'_>) -> Vec<Guard> {
        let serves = revision.guard(self.app.replicas());
        serves.into_iter().chain(self.app.none_wanted()).collect()
    }

    /// Takes the pods of all revisions but `kept`.
    pub(super) fn empty_others(&mut self, kept: &[&str], guards: &[Guard]) {
        for other in self.world.revisions() {
            if !kept.contains(&other.hash.as_str()) {
                self.resize(&other, 0, guards.to_vec());
            }
        }
    }

    /// Asks for `to` pods of a revision that exists, whatever was asked for before: a rollout may go through two
    /// of its states in one plan.
    pub(super) fn resize(&mut self, revision: &Revision<'_>, to: i32, mut guards: Vec<Guard>) {
        if to < revision.asked() {
            guards.extend(self.app.none_wanted());
        }
        let sizes = &mut self.course.sizes;
        sizes.retain(|size| size.revision != revision.hash);
        let exists = revision
            .deployment
            .is_some_and(|live| live.deleted_at.is_none());
        if exists && revision.asked() != to {
            self.course.sizes.push(Size {
                revision: revision.hash.clone(),
                to,
                guards,
            });
        }
    }
}
