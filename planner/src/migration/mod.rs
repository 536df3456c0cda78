//! `DatabaseMigration`: which file is applied next, and what status says.
//!
//! Files run one at a time, each behind a claim. Applying a file twice is harmless (its row in the history
//! commits with it), so a claim whose executor is gone is simply attempted anew; only the work of a
//! withdrawn contract release that ended without a result needs a person.

mod claims;
mod next;
mod settle;
mod source;
mod state;
mod turn;
mod view;

use signalbox_common::wire::action::CancelStep;
use signalbox_common::wire::{Action, LiveObject, Observation};
use signalbox_crds::claim::ClaimState;

use self::claims::Standing;
use self::turn::Turn;
use self::view::View;
use crate::draft::Draft;
use crate::stalled;

/// What is to be done about a migration.
pub(crate) fn decide(seen: &Observation, object: &LiveObject) -> Draft {
    let view = match View::read(seen, object) {
        Ok(view) => view,
        Err(message) => return stalled::unreadable(seen, object, &message),
    };
    if object.deleted_at.is_some() {
        return deletion(&view);
    }
    let mut turn = Turn::new(&view);
    if turn.is_held_whole() {
        turn.hold_whole();
    } else {
        turn.settle_claims();
        turn.recognise();
        turn.sweep_leases();
        turn.next();
    }
    turn.finish()
}

/// A deleted migration only ends the work that it started.
fn deletion(view: &View<'_>) -> Draft {
    let mut draft = Draft::new(&view.seen.uid);
    for (step, claim) in &view.status.claims {
        if claim.state != ClaimState::Running {
            continue;
        }
        if let Standing::Live(lease) = claims::standing(view, claim) {
            let cancel = CancelStep {
                step: step.clone(),
                lease: lease.name.clone(),
                lease_uid: lease.uid.clone(),
            };
            draft.push(
                format!("cancel/{}", lease.name),
                &lease.uid,
                Action::CancelStep(cancel),
            );
        }
    }
    draft
}
