//! Every name that stands on Kubernetes objects: labels, annotations, finalizers, managers.
//!
//! The only place that spells them; never decides when they are used.

/// Field manager of every write of the executors.
pub const MANAGER: &str = "signalbox";
/// Namespace in which the parts, their Lease and the digest key live.
pub const OPERATOR_NAMESPACE: &str = "signalbox-system";
/// Finalizer on a CR whose deletion has steps of its own.
pub const FINALIZER: &str = "signalbox.dev/finalizer";

/// Label on every child: name of the owning app or migration.
pub const LABEL_OWNER: &str = "signalbox.dev/owner";
/// Label on every child: kind of the owner, in lower case.
pub const LABEL_OWNER_KIND: &str = "signalbox.dev/owner-kind";
/// Label on a `PersistentVolumeClaim` (which has no owner reference): uid of its app.
pub const LABEL_OWNER_UID: &str = "signalbox.dev/owner-uid";
/// Label on a revision's Deployment, `ConfigMap` and pods: the revision hash.
pub const LABEL_REVISION: &str = "signalbox.dev/revision";
/// Prefix of the pod labels that say beside which revision a pod may serve:
/// `serves.signalbox.dev/<revision>: "true"`. A Service selects one of them.
pub const LABEL_SERVES_PREFIX: &str = "serves.signalbox.dev/";
/// Label on a step's Lease: the step key.
pub const LABEL_STEP: &str = "signalbox.dev/step";

/// Annotation on every child: hash of the configuration that was applied.
pub const ANNOTATION_APPLIED: &str = "signalbox.dev/applied";
/// Annotation on a revision's Deployment: version of the renderer of its pod template.
pub const ANNOTATION_RENDERER: &str = "signalbox.dev/renderer";
/// Annotation on a revision's Deployment and `ConfigMap`: the user's inputs but the configuration, as JSON.
pub const ANNOTATION_INPUTS: &str = "signalbox.dev/inputs";
/// Annotation on a revision's Deployment: the revision beside which it was rolled out (or itself).
pub const ANNOTATION_BASE: &str = "signalbox.dev/base";
/// Annotation on a CR: id of the trigger that last changed its spec.
pub const ANNOTATION_TRIGGER: &str = "signalbox.dev/trigger";
/// Annotation on a CR: RFC 3339 time of the trigger that last changed its spec.
pub const ANNOTATION_TRIGGER_TIME: &str = "signalbox.dev/trigger-time";
/// Annotation: ids of the triggers that were applied before it and are of the same time, as a JSON list.
pub const ANNOTATION_TRIGGERS_BESIDE: &str = "signalbox.dev/triggers-beside";
/// Annotation on a CR: a command of a person, `verb revision step id` (see docs/RUNBOOK.md).
pub const ANNOTATION_COMMAND: &str = "signalbox.dev/command";
/// Label on a child, annotation on a CR: the flight that fenced it against late writes of an earlier plan.
/// No annotation on a child: a Deployment counts those as a new generation.
pub const FENCE: &str = "signalbox.dev/fence";
/// Annotation on a Lease, Event or child: the reconcile id of the write's author.
pub const ANNOTATION_RECONCILE: &str = "signalbox.dev/reconcile-id";

/// The pod label key that marks pods which may serve beside `revision`.
#[must_use]
pub fn serves_label(revision: &str) -> String {
    format!("{LABEL_SERVES_PREFIX}{revision}")
}
