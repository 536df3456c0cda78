//! From an Observation to a Plan: the frame around the kinds.
//!
//! Decides which kind plans and what stands in every plan; never what a kind does. Total and pure.

use signalbox_common::digest;
use signalbox_common::kinds::Kind;
use signalbox_common::wire::{Observation, Plan, SCHEMA, Verdict};

use crate::draft::Draft;
use crate::variant::{self, Variant};
use crate::{app, fence, migration, rest, stalled};

/// Version of this planner: the crate's and its rules'. It stands in every plan, and what one version
/// could not plan is tried again by another.
#[must_use]
pub fn version() -> &'static str {
    match variant::chosen() {
        Variant::ChangedRule => concat!(env!("CARGO_PKG_VERSION"), "+rules.2-changed"),
        Variant::Released | Variant::ChangedRenderer | Variant::Defect => {
            concat!(env!("CARGO_PKG_VERSION"), "+rules.2")
        }
    }
}

/// What is to be done about what was seen.
#[must_use]
pub fn plan(seen: &Observation) -> Plan {
    let verdict = decide(seen).into_verdict();
    let rest = match &verdict {
        Verdict::Act { actions } => {
            rest::foresee(seen, actions, |next| decide(next).into_verdict())
        }
        Verdict::Settled | Verdict::Waiting { .. } => None,
    };
    Plan {
        schema: SCHEMA,
        reconcile_id: seen.reconcile_id,
        key: seen.key.clone(),
        uid: seen.uid.clone(),
        planner: version().to_owned(),
        observation: digest::of_json(seen),
        cause: seen.cause.label().to_owned(),
        actor: seen.cause.actor(),
        trigger: seen.cause.trigger().map(|trigger| trigger.id.clone()),
        verdict,
        rest,
    }
}

/// What the object's kind decides, unless there is no object or it can't be planned.
fn decide(seen: &Observation) -> Draft {
    // What a gone object owned goes by its owner references.
    let Some(object) = &seen.object else {
        return Draft::new(&seen.uid);
    };
    if seen.too_large {
        return stalled::too_large(seen, object);
    }
    if let Some(draft) = stalled::unplannable(seen, object) {
        return draft;
    }
    #[cfg(feature = "variants")]
    variant::defect(object);
    let mut draft = match seen.key.kind {
        Kind::PortfolioApp => app::decide(seen, object),
        Kind::DatabaseMigration => migration::decide(seen, object),
    };
    fence::add(seen, object, &mut draft);
    draft
}
