//! What an app's plan looks at: spec and status parsed once, the revision hash, its Deployments by revision.
//!
//! Decides what makes a revision: the user's pod-relevant inputs, never rendered output and never the generation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::digest;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::{LiveObject, Observation};
use signalbox_crds::names;
use signalbox_crds::{DatabaseMigrationStatus, PortfolioAppSpec, PortfolioAppStatus};

/// Characters of a revision hash.
const REVISION_LENGTH: usize = 10;

/// An app as one plan sees it.
pub(crate) struct View<'a> {
    pub(crate) seen: &'a Observation,
    pub(crate) object: &'a LiveObject,
    pub(crate) spec: &'a PortfolioAppSpec,
    pub(crate) status: &'a PortfolioAppStatus,
    /// Hash of the inputs without what references resolved to.
    pub(crate) inputs: String,
    /// The revision that the spec asks for.
    pub(crate) revision: String,
}

impl<'a> View<'a> {
    pub(crate) fn new(
        seen: &'a Observation,
        object: &'a LiveObject,
        spec: &'a PortfolioAppSpec,
        status: &'a PortfolioAppStatus,
    ) -> Self {
        let inputs = inputs(spec);
        let epoch = status.references.as_ref().map_or(0, |r| r.epoch);
        let revision = if spec.secrets.is_empty() {
            json!([inputs])
        } else {
            json!([inputs, epoch])
        };
        let revision = digest::short_of_json(&revision, REVISION_LENGTH);
        Self {
            seen,
            object,
            spec,
            status,
            inputs: digest::of_json(&inputs),
            revision,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.seen.key.name
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.seen.key.namespace
    }

    pub(crate) fn uid(&self) -> &str {
        &self.object.uid
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.seen.observed_at
    }

    pub(crate) fn generation(&self) -> i64 {
        self.object.generation.unwrap_or_default()
    }

    /// Replicas that the user (or the autoscaler) wants.
    pub(crate) fn replicas(&self) -> i64 {
        i64::from(self.spec.replicas)
    }

    /// Name of the Deployment and `ConfigMap` of a revision.
    pub(crate) fn child_name(&self, revision: &str) -> String {
        format!("{}-{revision}", self.name())
    }

    /// The live object of a kind and name, whoever owns it. What a conflict told of counts where the
    /// watch shows nothing.
    pub(crate) fn live(&self, kind: ChildKind, name: &str) -> Option<&'a LiveObject> {
        let is = |o: &&LiveObject| o.kind == kind.as_str() && o.name == name;
        let told = self.seen.outcome.as_ref().and_then(|o| o.live.as_ref());
        self.seen
            .children
            .iter()
            .find(is)
            .or_else(|| told.filter(is))
    }

    /// Own Deployments by revision.
    pub(crate) fn deployments(&self) -> BTreeMap<&'a str, &'a LiveObject> {
        let own = |o: &&LiveObject| {
            o.kind == ChildKind::Deployment.as_str()
                && o.is_owned_by(self.uid())
                && o.deleted_at.is_none()
        };
        let prefix = format!("{}-", self.name());
        // By name, not by label: labels may have been stripped.
        self.seen
            .children
            .iter()
            .filter(own)
            .filter_map(|o| Some((o.name.strip_prefix(&prefix)?, o)))
            .collect()
    }

    /// The migration that the app names, if it is there: object, spec, status.
    pub(crate) fn migration(&self) -> Option<Migration<'a>> {
        let name = &self.spec.migrations.as_ref()?.name;
        let object = self
            .seen
            .linked
            .iter()
            .find(|o| o.kind == Kind::DatabaseMigration.as_str() && &o.name == name)?;
        let status = object.at("/status").cloned().unwrap_or_default();
        let text = |pointer: &str| {
            object
                .at(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Some(Migration {
            object,
            app: text("/spec/app"),
            release: object
                .at("/spec/release")
                .and_then(|r| serde_json::from_value(r.clone()).ok()),
            manual: text("/spec/contract").as_deref() == Some("Manual"),
            status: serde_json::from_value(status).unwrap_or_default(),
        })
    }
}

/// The migration that an app names.
pub(crate) struct Migration<'a> {
    pub(crate) object: &'a LiveObject,
    pub(crate) app: Option<String>,
    pub(crate) release: Option<signalbox_crds::migration::Release>,
    pub(crate) manual: bool,
    pub(crate) status: DatabaseMigrationStatus,
}

impl Migration<'_> {
    /// Whether a file of this version is known.
    pub(crate) fn knows(&self, version: &str) -> bool {
        let prefix = format!("V{version}__");
        let files = self.object.at("/spec/files").and_then(Value::as_array);
        files.is_some_and(|files| {
            files.iter().any(|f| {
                f.get("name")
                    .and_then(Value::as_str)
                    .is_some_and(|n| n.starts_with(&prefix))
            })
        })
    }
}

/// The user's pod-relevant inputs. Taken apart without `..`: a new field has to be placed on one side.
fn inputs(spec: &PortfolioAppSpec) -> Value {
    let PortfolioAppSpec {
        image,
        replicas: _,
        command,
        args,
        ports,
        env,
        config,
        config_mount_path,
        secrets,
        resources,
        probes,
        sidecars,
        storage,
        autoscaling: _,
        disruption_budget: _,
        migrations: _,
        rollout: _,
        paused: _,
        deletion: _,
        termination_grace_period_seconds,
        restart,
    } = spec;
    json!([
        image,
        command,
        args,
        ports,
        env,
        config,
        config_mount_path,
        secrets,
        resources,
        probes,
        sidecars,
        storage,
        termination_grace_period_seconds,
        restart,
    ])
}

/// Ready pods of a Deployment that has seen its newest spec.
pub(crate) fn available(deployment: Option<&LiveObject>) -> i64 {
    let Some(deployment) = deployment else {
        return 0;
    };
    let current =
        deployment.count("/status/observedGeneration") >= deployment.generation.unwrap_or_default();
    // Before the controller has seen a change of scale, its old count may promise too much.
    let wanted = asked(Some(deployment));
    let available = deployment.count("/status/availableReplicas");
    if current { available.min(wanted) } else { 0 }
}

/// Replicas that a Deployment asks for.
pub(crate) fn asked(deployment: Option<&LiveObject>) -> i64 {
    deployment.map_or(0, |d| {
        d.at("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
    })
}

/// The base noted on a Deployment.
pub(crate) fn base_of(deployment: &LiveObject) -> Option<&str> {
    deployment
        .annotations
        .get(names::ANNOTATION_BASE)
        .map(String::as_str)
}
