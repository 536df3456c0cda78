//! Late writes: what a plan may still change although nobody waits for its answers any more.
//!
//! Decides which actions may come late and on what such a write rests. Creates are left out: late ones
//! are harmless. Never decides what is done about them.

use serde::{Deserialize, Serialize};
use signalbox_crds::names::FENCE;

use super::action::{Action, ApplyMode};
use super::live::LiveObject;
use crate::digest;
use crate::kinds::{ChildKind, Kind};

/// An object that a request may still change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LateWrite {
    /// Kind, as in `kind:`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// What it rests on.
    pub rests_on: RestsOn,
}

/// What an object must still be, so that a late write of it is not refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestsOn {
    /// Its [`LiveObject::basis`].
    Basis(String),
    /// SHA-256 of its status (canonical JSON), in hex.
    Status(String),
    /// Its replicas.
    Replicas(i32),
    /// Nothing that could be compared.
    Anything,
}

impl LateWrite {
    /// What an action for the object `own` of this name and uid may still change; none: only a create, or
    /// nothing that was there before.
    #[must_use]
    pub fn of(own: Kind, name: &str, uid: &str, action: &Action) -> Option<Self> {
        let late = |kind: &str, name: &str, uid: &str, rests_on| Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            rests_on,
        };
        let child = |kind: ChildKind, name: &str, uid: &str, on| late(kind.as_str(), name, uid, on);
        let object = |on| late(own.as_str(), name, uid, on);
        let basis = |seen: &Option<String>| seen.clone().map_or(RestsOn::Anything, RestsOn::Basis);
        Some(match action {
            Action::ApplyChild(apply) => match &apply.mode {
                ApplyMode::Create => return None,
                ApplyMode::Apply { uid, seen, .. } | ApplyMode::Replace { uid, seen, .. } => {
                    child(apply.kind, &apply.name, uid, basis(seen))
                }
            },
            Action::DeleteChild(delete) => {
                child(delete.kind, &delete.name, &delete.uid, basis(&delete.seen))
            }
            Action::Scale(scale) => child(
                ChildKind::Deployment,
                &scale.name,
                &scale.uid,
                RestsOn::Replicas(scale.from),
            ),
            Action::FenceChild(fence) => {
                child(fence.kind, &fence.name, &fence.uid, RestsOn::Anything)
            }
            Action::PatchSpec(patch) => late(
                patch.kind.as_str(),
                &patch.name,
                &patch.uid,
                RestsOn::Anything,
            ),
            Action::PatchStatus(patch) => object(RestsOn::Status(patch.seen.clone())),
            Action::ResolveReferences(resolve) => object(RestsOn::Status(resolve.seen.clone())),
            Action::ResolveSource(resolve) => object(RestsOn::Status(resolve.seen.clone())),
            Action::AddFinalizer(_) | Action::RemoveFinalizer(_) | Action::ClaimStep(_) => {
                object(RestsOn::Anything)
            }
            // A Lease that is cancelled is no step's any more; an Event is created.
            Action::CancelStep(_) | Action::EmitEvent(_) => return None,
        })
    }

    /// Whether it is about this object.
    #[must_use]
    pub fn is_of(&self, live: &LiveObject) -> bool {
        self.kind == live.kind && self.name == live.name && self.uid == live.uid
    }

    /// Whether the object, as it is seen, would still take it.
    #[must_use]
    pub fn may_land_on(&self, live: &LiveObject) -> bool {
        self.is_of(live)
            && live.deleted_at.is_none()
            && match &self.rests_on {
                RestsOn::Basis(basis) => *basis == live.basis(),
                RestsOn::Status(seen) => {
                    let null = serde_json::Value::Null;
                    *seen == digest::of_json(live.at("/status").unwrap_or(&null))
                }
                RestsOn::Replicas(replicas) => live.count("/spec/replicas") == i64::from(*replicas),
                RestsOn::Anything => true,
            }
    }
}

impl Action {
    /// Whether it only fences.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        match self {
            Self::FenceChild(_) => true,
            Self::PatchSpec(patch) => patch.annotations.contains_key(FENCE),
            Self::ApplyChild(_)
            | Self::DeleteChild(_)
            | Self::PatchStatus(_)
            | Self::AddFinalizer(_)
            | Self::RemoveFinalizer(_)
            | Self::Scale(_)
            | Self::ResolveReferences(_)
            | Self::ResolveSource(_)
            | Self::ClaimStep(_)
            | Self::CancelStep(_)
            | Self::EmitEvent(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::action::{ApplyChild, Scale};
    use crate::wire::trim::trim;

    fn deployment(replicas: i32, version: &str) -> LiveObject {
        trim(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": version,
                "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"replicas": replicas},
        }))
        .unwrap()
    }

    fn late(action: &Action) -> Option<LateWrite> {
        LateWrite::of(Kind::PortfolioApp, "web", "own", action)
    }

    #[test]
    fn a_scale_may_land_while_nobody_else_has_scaled() {
        let scale = Action::Scale(Scale {
            name: "web".to_owned(),
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            from: 0,
            to: 3,
        });
        let late = late(&scale).unwrap();
        // The version moves with each pod; that alone is no fence for who reads and tries again.
        assert!(late.may_land_on(&deployment(0, "9")));
        assert!(!late.may_land_on(&deployment(3, "9")), "it has landed");
        let other = LiveObject {
            uid: "v".to_owned(),
            ..deployment(0, "9")
        };
        assert!(!late.may_land_on(&other));
    }

    #[test]
    fn a_late_create_is_no_late_write() {
        let create = Action::ApplyChild(ApplyChild {
            kind: ChildKind::ConfigMap,
            name: "web".to_owned(),
            mode: ApplyMode::Create,
            object: json!({}),
        });
        assert_eq!(late(&create), None);
    }
}
