//! Fences: what an earlier plan may still write is made to be refused.
//!
//! An Outcome names the objects that requests of its plan may still change, because their end is not known.
//! Where such a request would still be accepted and this plan writes nothing there itself, the object gets a
//! new version. Decides that alone; never what the object should be.

use std::collections::BTreeMap;

use serde_json::json;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::action::{FenceChild, PatchSpec};
use signalbox_common::wire::{Action, LateWrite, LiveObject, Observation};
use signalbox_crds::names::FENCE;

use crate::draft::Draft;

/// What the keys of these actions begin with.
const PREFIX: &str = "fence/";

/// Whether an action of this key only fences: neither its success nor its failure says anything of what is
/// wanted.
pub(crate) fn is_fence(key: &str) -> bool {
    key.starts_with(PREFIX)
}

/// Adds what has to be fenced.
pub(crate) fn add(seen: &Observation, object: &LiveObject, draft: &mut Draft) {
    let Some(outcome) = &seen.outcome else { return };
    for late in &outcome.late {
        let all = std::iter::once(object)
            .chain(&seen.children)
            .chain(&seen.linked);
        let Some(live) = all.into_iter().find(|live| late.may_land_on(live)) else {
            continue;
        };
        let key = format!("{PREFIX}{}/{}", live.kind, live.name);
        if writes(seen, draft, live) || draft.keys().contains(&key) {
            continue;
        }
        let by = seen.reconcile_id.to_string();
        if let Some(action) = fence(live, by) {
            draft.push(key, &live.resource_version, action);
        }
    }
}

/// Whether the draft itself gives the object a new version, or takes it away.
fn writes(seen: &Observation, draft: &Draft, live: &LiveObject) -> bool {
    let mut actions = draft.actions.iter();
    actions.any(|planned| {
        LateWrite::of(seen.key.kind, &seen.key.name, &seen.uid, &planned.action)
            .is_some_and(|write| write.is_of(live))
    })
}

fn fence(live: &LiveObject, by: String) -> Option<Action> {
    let (name, uid) = (live.name.clone(), live.uid.clone());
    let resource_version = live.resource_version.clone();
    if let Some(kind) = ChildKind::parse(&live.kind) {
        return Some(Action::FenceChild(FenceChild {
            kind,
            name,
            uid,
            resource_version,
            by,
        }));
    }
    let kind = Kind::parse(&live.kind)?;
    Some(Action::PatchSpec(PatchSpec {
        kind,
        name,
        uid,
        resource_version,
        replaces: BTreeMap::new(),
        spec: json!({}),
        annotations: BTreeMap::from([(FENCE.to_owned(), by)]),
    }))
}

#[cfg(test)]
mod tests {
    use signalbox_common::wire::{RestsOn, Verdict};

    use super::*;
    use crate::plan;

    /// An app at rest, whose last plan was interrupted.
    fn seen(late: &[LateWrite]) -> Observation {
        let text = include_str!("../tests/inputs/app/nothing_to_do.json");
        let mut seen: Observation = serde_json::from_str(text).unwrap();
        let outcome = json!({"schema": 1, "reconcileId": "00000000-0000-4000-8000-000000000009",
            "key": seen.key, "uid": seen.uid, "by": "executor/a",
            "result": {"type": "interrupted"}, "late": late});
        seen.outcome = serde_json::from_value(outcome).unwrap();
        seen
    }

    fn late(live: &LiveObject, rests_on: RestsOn) -> LateWrite {
        LateWrite {
            kind: live.kind.clone(),
            name: live.name.clone(),
            uid: live.uid.clone(),
            rests_on,
        }
    }

    fn keys(seen: &Observation) -> Vec<String> {
        match plan(seen).verdict {
            Verdict::Act { actions } => actions.into_iter().map(|planned| planned.key).collect(),
            Verdict::Settled | Verdict::Waiting { .. } => Vec::new(),
        }
    }

    #[test]
    fn what_may_still_be_written_is_fenced_once() {
        assert_eq!(keys(&seen(&[])), Vec::<String>::new(), "at rest");
        let settled = seen(&[]);
        let deployment = settled
            .children
            .iter()
            .find(|live| live.kind == "Deployment")
            .unwrap();
        let replicas = i32::try_from(deployment.count("/spec/replicas")).unwrap();
        let scale = late(deployment, RestsOn::Replicas(replicas));
        let own = late(settled.object.as_ref().unwrap(), RestsOn::Anything);
        let key = format!("fence/Deployment/{}", deployment.name);
        let app = format!("fence/PortfolioApp/{}", settled.key.name);
        let both = seen(&[scale.clone(), scale, own]);
        assert_eq!(keys(&both), [key, app]);
    }

    #[test]
    fn what_can_no_longer_land_is_left_alone() {
        let settled = seen(&[]);
        let deployment = settled
            .children
            .iter()
            .find(|live| live.kind == "Deployment")
            .unwrap();
        let replicas = i32::try_from(deployment.count("/spec/replicas")).unwrap();
        let mut other = late(deployment, RestsOn::Anything);
        other.uid = "another".to_owned();
        let landed = late(deployment, RestsOn::Replicas(replicas + 1));
        let changed = late(deployment, RestsOn::Basis("another".to_owned()));
        assert_eq!(keys(&seen(&[other, landed, changed])), Vec::<String>::new());
    }
}
