//! The end of an app: grace, pods, volume, finalizer.
//!
//! Decides the order; creates and repairs nothing any more. Works without a readable spec.

use jiff::Timestamp;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::{Action, DeleteChild, Finalizer, Scale};
use signalbox_common::wire::{LiveObject, Observation};
use signalbox_crds::app::StoragePolicy;
use signalbox_crds::{PortfolioAppSpec, PortfolioAppStatus, names};

use super::rollout::later;
use super::view::asked;
use crate::draft::Draft;

/// The plan of an app that is being deleted.
pub(crate) fn decide(
    seen: &Observation,
    object: &LiveObject,
    spec: Option<&PortfolioAppSpec>,
    status: &PortfolioAppStatus,
    deleted_at: Timestamp,
) -> Draft {
    let mut draft = Draft::new(&object.uid);
    if !object.finalizers.iter().any(|f| f == names::FINALIZER) {
        return draft;
    }
    let grace = later(
        deleted_at,
        spec.map_or(0, |s| s.deletion.grace_period_seconds),
    );
    if grace > seen.observed_at {
        let mut next = status.clone();
        next.phase = Some("Terminating".to_owned());
        next.next_wake = Some(grace);
        if let Some(action) = crate::status::patch(object, status, &next) {
            draft.push(crate::draft::STATUS, &object.uid, action);
        }
        draft.wait(Some(grace), "the grace period of the deletion");
        return draft;
    }
    let own = |kind: ChildKind| {
        seen.children
            .iter()
            .filter(move |o| o.kind == kind.as_str() && o.is_owned_by(&object.uid))
    };
    let mut pods = 0;
    for deployment in own(ChildKind::Deployment).filter(|d| d.deleted_at.is_none()) {
        let now = asked(Some(deployment));
        pods += deployment.count("/status/replicas");
        if now > 0 {
            pods += now;
            let action = Action::Scale(Scale {
                name: deployment.name.clone(),
                uid: deployment.uid.clone(),
                resource_version: deployment.resource_version.clone(),
                from: i32::try_from(now).unwrap_or(i32::MAX),
                to: 0,
            });
            draft.push(
                format!("scale/Deployment/{}", deployment.name),
                "deletion",
                action,
            );
        }
    }
    if pods > 0 {
        draft.wait(None, "the pods end");
        return draft;
    }
    let delete = spec.is_some_and(|s| s.deletion.storage == StoragePolicy::Delete);
    let mut volumes = false;
    for volume in own(ChildKind::PersistentVolumeClaim).filter(|_| delete) {
        volumes = true;
        if volume.deleted_at.is_none() {
            let action = Action::DeleteChild(DeleteChild {
                kind: ChildKind::PersistentVolumeClaim,
                name: volume.name.clone(),
                uid: volume.uid.clone(),
                resource_version: volume.resource_version.clone(),
                seen: Some(volume.basis()),
            });
            draft.push(
                format!("delete/PersistentVolumeClaim/{}", volume.name),
                &volume.uid,
                action,
            );
        }
    }
    if volumes {
        draft.wait(None, "the volume is deleted");
        return draft;
    }
    let finalizers = object
        .finalizers
        .iter()
        .filter(|f| *f != names::FINALIZER)
        .cloned()
        .collect();
    let resource_version = object.resource_version.clone();
    draft.push(
        "finalizer/remove",
        &object.uid,
        Action::RemoveFinalizer(Finalizer {
            resource_version,
            finalizers,
        }),
    );
    draft
}
