//! Reading and changing objects as a user with every right would.

use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::wait::eventually;

/// How long an app may take until it is Ready: never a measure, only an end.
const PATIENCE: Duration = Duration::from_mins(2);

/// Objects of one namespace.
#[derive(Clone)]
pub struct Objects {
    client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Objects {
    /// Objects of `namespace` (empty: of all), through `client`.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// The API of a kind, by the names that `kubectl` takes.
    ///
    /// # Panics
    /// For a kind that no suite uses.
    #[must_use]
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (group, version, kind, plural) = match kind {
            "papp" => ("signalbox.dev", "v1alpha1", "PortfolioApp", "portfolioapps"),
            "dbm" => (
                "signalbox.dev",
                "v1alpha1",
                "DatabaseMigration",
                "databasemigrations",
            ),
            "deployment" => ("apps", "v1", "Deployment", "deployments"),
            "replicaset" => ("apps", "v1", "ReplicaSet", "replicasets"),
            "service" => ("", "v1", "Service", "services"),
            "configmap" => ("", "v1", "ConfigMap", "configmaps"),
            "secret" => ("", "v1", "Secret", "secrets"),
            "pod" => ("", "v1", "Pod", "pods"),
            "pvc" => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            "hpa" => (
                "autoscaling",
                "v2",
                "HorizontalPodAutoscaler",
                "horizontalpodautoscalers",
            ),
            "pdb" => (
                "policy",
                "v1",
                "PodDisruptionBudget",
                "poddisruptionbudgets",
            ),
            "lease" => ("coordination.k8s.io", "v1", "Lease", "leases"),
            "event" => ("events.k8s.io", "v1", "Event", "events"),
            other => panic!("no suite knows the kind {other}"),
        };
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        if self.namespace.is_empty() {
            return Api::all_with(self.client.clone(), &resource);
        }
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// One object, or none.
    pub async fn find(&self, kind: &str, name: &str) -> Option<Value> {
        let found = self.api(kind).get_opt(name).await.expect("failed to read");
        found.map(|object| serde_json::to_value(object).expect("an object is JSON"))
    }

    /// One object.
    pub async fn get(&self, kind: &str, name: &str) -> Value {
        self.find(kind, name)
            .await
            .unwrap_or_else(|| panic!("there is no {kind} {name}"))
    }

    /// All objects of a kind.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let list = self
            .api(kind)
            .list(&ListParams::default())
            .await
            .expect("failed to list");
        list.items
            .into_iter()
            .map(|o| serde_json::to_value(o).expect("an object is JSON"))
            .collect()
    }

    /// Merge patch, as `kubectl patch --type=merge`.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Value {
        let params = PatchParams {
            field_manager: Some("suite".to_owned()),
            ..Default::default()
        };
        let patched = self
            .api(kind)
            .patch(name, &params, &Patch::Merge(&patch))
            .await;
        serde_json::to_value(patched.expect("failed to patch")).expect("an object is JSON")
    }

    /// The app once it is Ready at its newest generation.
    pub async fn becomes_ready(&self, name: &str) -> Value {
        self.is_ready("papp", name).await
    }

    /// The object once it is Ready at its newest generation.
    pub async fn is_ready(&self, kind: &str, name: &str) -> Value {
        eventually(&format!("{kind} {name} is Ready"), PATIENCE, || async {
            let object = self.get(kind, name).await;
            ready(&object).map(|()| object)
        })
        .await
    }

    /// Asks for another image of the app.
    pub async fn image(&self, name: &str, image: &str) -> Value {
        self.patch("papp", name, json!({"spec": {"image": image}}))
            .await
    }

    /// Deletes one object.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .expect("failed to delete");
    }
}

/// The status of a condition, or `None`.
#[must_use]
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|c| c["type"] == type_)?["status"].as_str()
}

/// `Ok` if the object is Ready at its newest generation, else the status, for the message.
pub fn ready(object: &Value) -> Result<(), String> {
    let current =
        object.pointer("/metadata/generation") == object.pointer("/status/observedGeneration");
    if current && condition(object, "Ready") == Some("True") {
        return Ok(());
    }
    Err(format!(
        "generation {} status {}",
        object["metadata"]["generation"],
        serde_json::to_string_pretty(&object["status"]).unwrap_or_default()
    ))
}

/// Hash of the revision that serves.
#[must_use]
pub fn stable(app: &Value) -> String {
    let stable = app["status"]["stable"].as_str();
    stable.expect("a revision serves").to_owned()
}
