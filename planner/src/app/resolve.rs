//! From the live object to what the rules work on: spec, status, the inputs of a revision and its hash.
//!
//! Decides what makes a new revision: the user's own pod-relevant inputs, never rendered output and
//! never how many pods there are. Never decides what is done with a revision.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signalbox_common::digest::short_of_json;
use signalbox_common::wire::plan::Guard;
use signalbox_common::wire::{LiveObject, Observation};
use signalbox_crds::app::{EnvVar, Port, Probes, Resources, SecretUse, Sidecar};
use signalbox_crds::{PortfolioAppSpec, PortfolioAppStatus};

use super::noted::Weighed;
use super::world::asks_for_none;

/// Length of a revision hash.
pub(super) const REVISION_LEN: usize = 10;

/// An app as seen in one Observation.
pub(super) struct App<'a> {
    pub(super) seen: &'a Observation,
    pub(super) object: &'a LiveObject,
    pub(super) spec: PortfolioAppSpec,
    pub(super) status: PortfolioAppStatus,
    /// Inputs of the revision that the spec asks for.
    pub(super) inputs: Inputs,
    /// Its hash.
    pub(super) revision: String,
    pub(super) weighed: Weighed,
}

impl<'a> App<'a> {
    /// Reads the object.
    ///
    /// # Errors
    /// What of the spec can't be read.
    pub(super) fn read(seen: &'a Observation, object: &'a LiveObject) -> Result<Self, String> {
        let spec = object.at("/spec").unwrap_or(&Value::Null);
        let spec = PortfolioAppSpec::deserialize(spec).map_err(|err| format!("spec: {err}"))?;
        let status = read_status(object);
        let epoch = status
            .references
            .as_ref()
            .map_or(0, |references| references.epoch);
        let inputs = Inputs::of(&spec, if spec.secrets.is_empty() { 0 } else { epoch });
        let revision = inputs.revision(&spec.config);
        Ok(Self {
            seen,
            object,
            spec,
            status,
            inputs,
            revision,
            weighed: Weighed::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.object.name
    }

    pub(super) fn uid(&self) -> &str {
        &self.object.uid
    }

    pub(super) fn generation(&self) -> i64 {
        self.object.generation.unwrap_or(0)
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.seen.observed_at
    }

    /// Pods wanted in all.
    pub(super) fn replicas(&self) -> i32 {
        self.spec.replicas.max(0)
    }

    /// Where no pod is wanted none can prove anything: what takes pods away then rests on the wish itself, which
    /// may be another one by the time the plan is carried out.
    pub(super) fn none_wanted(&self) -> Option<Guard> {
        (self.replicas() == 0).then(|| asks_for_none(self.object))
    }

    /// Name of what belongs to one revision.
    pub(super) fn revision_name(&self, revision: &str) -> String {
        format!("{}-{revision}", self.name())
    }

    /// Hash of the inputs for which Secrets are resolved: the epoch is what comes of it, so it is left out.
    pub(super) fn inputs_hash(&self) -> String {
        let inputs = Inputs {
            epoch: 0,
            ..self.inputs.clone()
        };
        short_of_json(&(inputs, &self.spec.config), 16)
    }
}

/// The status as far as it can be read; a broken one counts as empty.
pub(super) fn read_status(object: &LiveObject) -> PortfolioAppStatus {
    object
        .at("/status")
        .and_then(|status| PortfolioAppStatus::deserialize(status).ok())
        .unwrap_or_else(|| PortfolioAppStatus {
            observed_generation: -1,
            ..Default::default()
        })
}

/// What makes a revision, but its configuration: everything pod-relevant that the user wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inputs {
    pub(super) image: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) command: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<Port>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) env: Vec<EnvVar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) config_mount_path: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) secrets: Vec<SecretUse>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resources: Option<Resources>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) probes: Option<Probes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sidecars: Vec<Sidecar>,
    /// Where the volume is mounted, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) storage_path: Option<String>,
    pub(super) termination_grace_period_seconds: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<String>,
    /// Grows when the content of a Secret in use changes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) epoch: i64,
}

impl Inputs {
    /// The inputs that a spec holds. A port of the Service alone makes no revision.
    pub(super) fn of(spec: &PortfolioAppSpec, epoch: i64) -> Self {
        let container = |port: &Port| Port {
            service_port: None,
            ..port.clone()
        };
        Self {
            image: spec.image.clone(),
            command: spec.command.clone(),
            args: spec.args.clone(),
            ports: spec.ports.iter().map(container).collect(),
            env: spec.env.clone(),
            config_mount_path: spec.config_mount_path.clone(),
            secrets: spec.secrets.clone(),
            resources: spec.resources.clone(),
            probes: spec.probes.clone(),
            sidecars: spec.sidecars.clone(),
            storage_path: spec
                .storage
                .as_ref()
                .map(|storage| storage.mount_path.clone()),
            termination_grace_period_seconds: spec.termination_grace_period_seconds,
            restart: spec.restart.clone(),
            epoch,
        }
    }

    /// The revision hash.
    pub(super) fn revision(&self, config: &BTreeMap<String, String>) -> String {
        short_of_json(&(self, config), REVISION_LEN)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
const fn is_zero(epoch: &i64) -> bool {
    *epoch == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn revision(spec: Value) -> String {
        let spec: PortfolioAppSpec = serde_json::from_value(spec).unwrap();
        Inputs::of(&spec, 0).revision(&spec.config)
    }

    #[test]
    fn only_what_pods_are_made_of_makes_a_revision() {
        let plain = revision(json!({"image": "a:1"}));
        assert_eq!(plain.len(), REVISION_LEN);
        for same in [
            json!({"image": "a:1", "replicas": 7}),
            json!({"image": "a:1", "paused": true}),
            json!({"image": "a:1", "rollout": {"drainSeconds": 1}}),
            json!({"image": "a:1", "autoscaling": {"maxReplicas": 3}}),
            json!({"image": "a:1", "migrations": {"name": "m"}}),
        ] {
            assert_eq!(revision(same.clone()), plain, "{same}");
        }
        for other in [
            json!({"image": "a:2"}),
            json!({"image": "a:1", "config": {"A": "1"}}),
            json!({"image": "a:1", "restart": "x"}),
            json!({"image": "a:1", "args": ["x"]}),
        ] {
            assert_ne!(revision(other.clone()), plain, "{other}");
        }
    }

    #[test]
    fn inputs_survive_their_annotation() {
        let spec = json!({"image": "a:1", "probes": {"readiness": {"tcpSocket": {"port": 1}}},
            "ports": [{"name": "http", "port": 80, "servicePort": 81}], "secrets": [{"name": "s", "env": true}]});
        let spec: PortfolioAppSpec = serde_json::from_value(spec).unwrap();
        let inputs = Inputs::of(&spec, 3);
        let text = serde_json::to_string(&inputs).unwrap();
        let back: Inputs = serde_json::from_str(&text).unwrap();
        assert_eq!(back.revision(&spec.config), inputs.revision(&spec.config));
    }
}
