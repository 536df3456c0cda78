//! Claims of a migration: what each one means now.
//!
//! Decides whether a claim is alive, over or unwanted; never what runs next.

use std::time::Duration;

use jiff::Timestamp;
use signalbox_common::wire::observation::StepLease;
use signalbox_crds::claim::Claim;
use signalbox_crds::migration::Phase;

use super::view::{File, View};
use crate::failure::later;

/// How long a Lease lives without a renewal, and how long its absence may be the cache's lag.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// Class of a claim whose work ended without a result after its release had been withdrawn.
pub(super) const WITHDRAWN: &str = "Withdrawn";

/// Whether somebody works on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its Lease is renewed.
    Live(StepLease),
    /// Its Lease is not (or no longer) to be seen; judged over after this time.
    Unseen(Timestamp),
    /// Nobody.
    Over,
}

/// Whether somebody works on `claim`, which is Running.
pub(super) fn standing(view: &View<'_>, claim: &Claim) -> Standing {
    match lease(view, &claim.lease) {
        Some(lease) if !lease.ended => Standing::Live(lease.clone()),
        Some(_) => Standing::Over,
        None => {
            let asked = claim
                .cancelled_at
                .map_or(claim.started_at, |at| at.max(claim.started_at));
            let end = later(asked.min(view.now()), LEASE);
            if end > view.now() {
                Standing::Unseen(end)
            } else {
                Standing::Over
            }
        }
    }
}

/// The Lease of that name, if it is to be seen.
pub(super) fn lease<'v>(view: &View<'v>, name: &str) -> Option<&'v StepLease> {
    view.seen.leases.iter().find(|lease| lease.name == name)
}

/// What is thought of a claim's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// It is what should be done.
    Wanted,
    /// Its content's digest has to be read first.
    Undecided,
    /// The release of its phase was withdrawn.
    Withdrawn,
    /// The file has another content or target now, or is gone.
    Outdated,
}

/// What is thought of the work of the claim `key`, and the file that it is about.
pub(super) fn wish<'v>(view: &'v View<'_>, key: &str, claim: &Claim) -> (Wish, Option<&'v File>) {
    let Some(file) = view.files.iter().find(|file| file.step() == key) else {
        return (Wish::Outdated, None);
    };
    let wish = match view.step_id(file) {
        _ if !view.allows(file.phase) => Wish::Withdrawn,
        None if view.source_is_current() => Wish::Outdated,
        None => Wish::Undecided,
        Some(id) if id.to_string() == claim.step_id => Wish::Wanted,
        Some(_) => Wish::Outdated,
    };
    (wish, Some(file))
}

/// Whether it must be known what came of an unwanted claim before anything rests on its absence.
pub(super) fn is_unsafe(wish: Wish, file: Option<&File>) -> bool {
    match (wish, file) {
        (Wish::Withdrawn | Wish::Outdated, Some(file)) => file.phase == Phase::Contract,
        (Wish::Withdrawn | Wish::Outdated, None) => true,
        (Wish::Wanted | Wish::Undecided, _) => false,
    }
}
