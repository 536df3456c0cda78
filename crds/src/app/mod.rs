//! `PortfolioApp` (papp): an application: image, configuration, storage, side-cars, service, scaling, migrations, rollout, deletion.
//!
//! Decides what a user may ask for and which defaults the API server writes; never how it is built.

mod pod;
mod rollout;
mod status;

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use pod::{
    EnvVar, ExecAction, HttpGet, Port, Probe, Probes, Protocol, Resources, SecretUse, Sidecar,
    TcpSocket,
};
pub use rollout::{Rollout, RolloutStep, Strategy};
pub use status::{AppRelease, PortfolioAppStatus, RolloutState, RolloutStatus};

/// An application that Signalbox builds, migrates and releases.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "signalbox.dev",
    version = "v1alpha1",
    kind = "PortfolioApp",
    plural = "portfolioapps",
    singular = "portfolioapp",
    shortname = "papp",
    category = "signalbox",
    namespaced,
    status = "PortfolioAppStatus",
    derive = "PartialEq",
    doc = "An application: image, configuration, storage, side-cars, service, scaling, migrations, rollout and deletion.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.rollout.weight"),
    printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("size(self.metadata.name) <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label that starts with a letter, at most 40 characters: revisions and Services are named after it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.autoscaling) || self.autoscaling.minReplicas <= self.autoscaling.maxReplicas")
    .message("spec.autoscaling.minReplicas must not be above maxReplicas").field_path(".autoscaling.minReplicas"))]
#[x_kube(validation = Rule::new("!has(self.sidecars) || !self.sidecars.exists(s, s.name == 'app')")
    .message("spec.sidecars[].name must not be 'app': that is the main container").field_path(".sidecars"))]
#[x_kube(validation = Rule::new("!has(self.configMountPath) || (has(self.config) && size(self.config) > 0)")
    .message("spec.configMountPath needs entries in spec.config").field_path(".configMountPath"))]
#[x_kube(validation = Rule::new("!has(self.storage) == !has(oldSelf.storage)")
    .message("spec.storage can't be added or removed after creation: a volume is never dropped silently").field_path(".storage"))]
pub struct PortfolioAppSpec {
    /// Image of the main container, used exactly as given (tag or digest).
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: String,

    /// Number of pods that serve. Changed by `kubectl scale` and by autoscaling.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: i32,

    /// Entry point; empty: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub command: Vec<String>,

    /// Arguments; empty: the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<String>,

    /// Ports that the app listens on; each becomes a port of the Service. No ports: no Service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub ports: Vec<Port>,

    /// Environment variables of the main container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,

    /// Configuration: kept in a `ConfigMap` of the revision, given to the pods as environment
    /// variables, and as files too where `configMountPath` is set. A change makes a new revision.
    /// At most 64 KiB in all. Not for secrets: values are shown and recorded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128), inner(length(max = 16384)))]
    pub config: BTreeMap<String, String>,

    /// Directory at which `config` is mounted as files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^/[^:]*$"))]
    pub config_mount_path: Option<String>,

    /// Secrets of the same namespace that the pods use, by name. Their content is never copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub secrets: Vec<SecretUse>,

    /// Resources of the main container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Probes of the main container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,

    /// Native side-cars: containers that start before the app and stop after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub sidecars: Vec<Sidecar>,

    /// Persistent storage, shared by all pods of the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// Scaling by processor use: a `HorizontalPodAutoscaler` on this app's scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// How many pods must stay up in voluntary disruptions: a `PodDisruptionBudget`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruption_budget: Option<DisruptionBudget>,

    /// The schema migration that each release drives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,

    /// How a new revision takes over.
    #[serde(default)]
    pub rollout: Rollout,

    /// Holds everything as it is: no new revision, no next step. Scaling and repair go on.
    #[serde(default)]
    pub paused: bool,

    /// What happens when the app is deleted.
    #[serde(default)]
    pub deletion: Deletion,

    /// Seconds that a pod gets to finish after it was told to stop.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 3600))]
    pub termination_grace_period_seconds: i64,

    /// Change it to make a new revision without any other change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub restart: Option<String>,
}

/// Persistent storage of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec.storage can't be changed after creation"))]
pub struct Storage {
    /// Size, for example `10Gi`.
    #[schemars(
        length(max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$")
    )]
    pub size: String,
    /// Directory at which it is mounted in the main container.
    #[schemars(length(min = 2, max = 256), regex(pattern = r"^/[^:]*$"))]
    pub mount_path: String,
    /// Storage class; unset: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Access mode.
    #[serde(default)]
    pub access_mode: AccessMode,
}

/// Access mode of the volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// One node at a time.
    #[default]
    ReadWriteOnce,
    /// Many nodes.
    ReadWriteMany,
}

/// Scaling by processor use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Lower bound of `replicas`.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Upper bound of `replicas`.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Wanted mean processor use, in percent of what is requested.
    #[serde(default = "eighty")]
    #[schemars(range(min = 1, max = 1000))]
    pub cpu_percent: i32,
}

/// How many pods must stay up: exactly one of the two fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.minAvailable) != has(self.maxUnavailable)")
    .message("spec.disruptionBudget needs exactly one of minAvailable and maxUnavailable"))]
pub struct DisruptionBudget {
    /// Number or percentage of pods that must stay, for example `1` or `50%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = r"^[0-9]+%?$"))]
    pub min_available: Option<String>,
    /// Number or percentage of pods that may go at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = r"^[0-9]+%?$"))]
    pub max_unavailable: Option<String>,
}

/// The schema migration that each release of the app drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// Name of a `DatabaseMigration` of the same namespace whose `spec.app` names this app.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Version of the newest expand file that this release needs: the rollout waits until the
    /// migration knows it. Unset: the files that the migration has now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub requires: Option<String>,
}

/// What happens when the app is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Seconds between the deletion and the removal of the pods, in which they still serve.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86400))]
    pub grace_period_seconds: i64,
    /// What becomes of the volume.
    #[serde(default)]
    pub storage: StoragePolicy,
}

/// What becomes of the volume when the app is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StoragePolicy {
    /// The claim stays and can be used by an app of the same name.
    #[default]
    Retain,
    /// The claim is deleted after the pods.
    Delete,
}

/// The definition with what the derive can't say: an untouched object reads as in progress.
#[must_use]
pub fn with_defaults(crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crate::condition::default_observed_generation(crd)
}

const fn one() -> i32 {
    1
}
const fn thirty() -> i64 {
    30
}
const fn eighty() -> i32 {
    80
}
