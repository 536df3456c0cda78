//! Pod templates, by version of the renderer.
//!
//! A revision's template is rendered by the version noted on its Deployment, so that a new build of the
//! planner restarts nothing. A renderer is frozen by its golden file; a change is a new version.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use signalbox_crds::app::{EnvVar, Probe, Resources, Sidecar};

use super::children::protocol;
use super::resolve::Inputs;
use crate::variant::{self, Variant};

/// Version that renders new revisions.
pub(super) fn newest() -> &'static str {
    match variant::chosen() {
        Variant::ChangedRenderer => "changed",
        Variant::Released | Variant::ChangedRule | Variant::Defect => "1",
    }
}

/// Versions that this build can render, the newest first.
pub(super) fn known() -> impl Iterator<Item = &'static str> {
    let newest = newest();
    [newest, "1"]
        .into_iter()
        .take(if newest == "1" { 1 } else { 2 })
}

/// Name of the main container.
const MAIN: &str = "app";
/// Name of the volume with the configuration.
const CONFIG_VOLUME: &str = "signalbox-config";
/// Name of the persistent volume.
const DATA_VOLUME: &str = "signalbox-data";

/// What a pod template is rendered from.
pub(super) struct Template<'t> {
    pub(super) inputs: &'t Inputs,
    pub(super) labels: BTreeMap<String, String>,
    /// The revision's `ConfigMap`, if it has entries.
    pub(super) config_map: Option<&'t str>,
    /// The volume claim, if there is one.
    pub(super) claim: Option<&'t str>,
}

/// The pod template; none if this build does not know the version.
pub(super) fn render(version: &str, template: &Template<'_>) -> Option<Value> {
    match version {
        "1" => Some(first(template)),
        #[cfg(feature = "variants")]
        "changed" if variant::chosen() == Variant::ChangedRenderer => Some(changed(template)),
        _ => None,
    }
}

/// Version 1.
fn first(template: &Template<'_>) -> Value {
    let inputs = template.inputs;
    let mut spec = json!({
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": inputs.termination_grace_period_seconds,
    });
    if let Some(fields) = spec.as_object_mut() {
        let sidecars: Vec<Value> = inputs.sidecars.iter().map(sidecar).collect();
        put(fields, "initContainers", sidecars);
        put(fields, "containers", vec![main_container(template)]);
        put(fields, "volumes", volumes(template));
    }
    let metadata = json!({ "labels": template.labels });
    [("metadata", metadata), ("spec", spec)]
        .into_iter()
        .collect()
}

/// What another build renders: visibly different from version 1.
#[cfg(feature = "variants")]
fn changed(template: &Template<'_>) -> Value {
    let mut rendered = first(template);
    if let Some(metadata) = rendered.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = json!({ "example.com/renderer": "changed" });
        metadata.insert("annotations".to_owned(), annotations);
    }
    rendered
}

fn main_container(template: &Template<'_>) -> Value {
    let inputs = template.inputs;
    let mut fields = container(
        (MAIN, &inputs.image),
        (&inputs.command, &inputs.args),
        &inputs.env,
        inputs.resources.as_ref(),
    );
    let ports = inputs.ports.iter().map(|port| {
        json!({ "name": port.name, "containerPort": port.port, "protocol": protocol(port.protocol) })
    });
    put(&mut fields, "ports", ports.collect());
    put(&mut fields, "envFrom", env_from(template));
    put(&mut fields, "volumeMounts", mounts(template));
    if let Some(probes) = &inputs.probes {
        let probes = [
            ("readinessProbe", &probes.readiness),
            ("livenessProbe", &probes.liveness),
            ("startupProbe", &probes.startup),
        ];
        for (field, of) in probes {
            if let Some(of) = of {
                fields.insert(field.to_owned(), probe(of));
            }
        }
    }
    Value::Object(fields)
}

fn sidecar(sidecar: &Sidecar) -> Value {
    let mut fields = container(
        (&sidecar.name, &sidecar.image),
        (&sidecar.command, &sidecar.args),
        &sidecar.env,
        sidecar.resources.as_ref(),
    );
    fields.insert("restartPolicy".to_owned(), json!("Always"));
    Value::Object(fields)
}

/// What every container has.
fn container(
    (name, image): (&str, &str),
    (command, args): (&[String], &[String]),
    env: &[EnvVar],
    limits: Option<&Resources>,
) -> Map<String, Value> {
    let mut fields = Map::from_iter([
        ("name".to_owned(), json!(name)),
        ("image".to_owned(), json!(image)),
        ("imagePullPolicy".to_owned(), json!(pull_policy(image))),
        (
            "resources".to_owned(),
            limits.map_or_else(|| json!({}), resources),
        ),
        (
            "terminationMessagePath".to_owned(),
            json!("/dev/termination-log"),
        ),
        ("terminationMessagePolicy".to_owned(), json!("File")),
    ]);
    put(
        &mut fields,
        "command",
        command.iter().map(|text| json!(text)).collect(),
    );
    put(
        &mut fields,
        "args",
        args.iter().map(|text| json!(text)).collect(),
    );
    put(&mut fields, "env", env.iter().map(variable).collect());
    fields
}

/// The API server leaves out an empty value.
fn variable(variable: &EnvVar) -> Value {
    if variable.value.is_empty() {
        json!({ "name": variable.name })
    } else {
        json!({ "name": variable.name, "value": variable.value })
    }
}

/// As the API server would choose: a tag that moves is pulled always.
fn pull_policy(image: &str) -> &'static str {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains('@') {
        return "IfNotPresent";
    }
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

/// The API server adds a request for every limit without one, in the pods only.
fn resources(resources: &Resources) -> Value {
    let mut fields = Map::new();
    for (field, amounts) in [
        ("requests", &resources.requests),
        ("limits", &resources.limits),
    ] {
        if !amounts.is_empty() {
            fields.insert(field.to_owned(), json!(amounts));
        }
    }
    Value::Object(fields)
}

fn env_from(template: &Template<'_>) -> Vec<Value> {
    let config = template
        .config_map
        .map(|name| json!({ "configMapRef": { "name": name } }));
    let secrets = template.inputs.secrets.iter().filter(|secret| secret.env);
    config
        .into_iter()
        .chain(secrets.map(|secret| json!({ "secretRef": { "name": secret.name } })))
        .collect()
}

fn mounts(template: &Template<'_>) -> Vec<Value> {
    let inputs = template.inputs;
    let mut mounts = Vec::new();
    if let (Some(path), Some(_)) = (&inputs.config_mount_path, template.config_map) {
        mounts.push(json!({ "name": CONFIG_VOLUME, "mountPath": path, "readOnly": true }));
    }
    if let (Some(path), Some(_)) = (&inputs.storage_path, template.claim) {
        mounts.push(json!({ "name": DATA_VOLUME, "mountPath": path }));
    }
    for (index, secret) in inputs.secrets.iter().enumerate() {
        if let Some(path) = &secret.mount_path {
            mounts
                .push(json!({ "name": secret_volume(index), "mountPath": path, "readOnly": true }));
        }
    }
    mounts
}

fn volumes(template: &Template<'_>) -> Vec<Value> {
    let inputs = template.inputs;
    let mut volumes = Vec::new();
    if let (Some(_), Some(name)) = (&inputs.config_mount_path, template.config_map) {
        volumes.push(
            json!({ "name": CONFIG_VOLUME, "configMap": { "name": name, "defaultMode": 420 } }),
        );
    }
    if let (Some(_), Some(claim)) = (&inputs.storage_path, template.claim) {
        volumes
            .push(json!({ "name": DATA_VOLUME, "persistentVolumeClaim": { "claimName": claim } }));
    }
    for (index, secret) in inputs.secrets.iter().enumerate() {
        if secret.mount_path.is_some() {
            let source = json!({ "secretName": secret.name, "defaultMode": 420 });
            volumes.push(json!({ "name": secret_volume(index), "secret": source }));
        }
    }
    volumes
}

/// A Secret's name may be longer than a volume's.
fn secret_volume(index: usize) -> String {
    format!("signalbox-secret-{index}")
}

fn probe(probe: &Probe) -> Value {
    let mut fields = Map::from_iter([
        ("periodSeconds".to_owned(), json!(probe.period_seconds)),
        ("timeoutSeconds".to_owned(), json!(probe.timeout_seconds)),
        (
            "failureThreshold".to_owned(),
            json!(probe.failure_threshold),
        ),
        ("successThreshold".to_owned(), json!(1)),
    ]);
    if probe.initial_delay_seconds > 0 {
        fields.insert(
            "initialDelaySeconds".to_owned(),
            json!(probe.initial_delay_seconds),
        );
    }
    if let Some(http) = &probe.http_get {
        let get = json!({ "path": http.path, "port": http.port, "scheme": "HTTP" });
        fields.insert("httpGet".to_owned(), get);
    }
    if let Some(tcp) = &probe.tcp_socket {
        fields.insert("tcpSocket".to_owned(), json!({ "port": tcp.port }));
    }
    if let Some(exec) = &probe.exec {
        fields.insert("exec".to_owned(), json!({ "command": exec.command }));
    }
    Value::Object(fields)
}

/// The API server leaves out empty lists.
fn put(fields: &mut Map<String, Value>, field: &str, items: Vec<Value>) {
    if !items.is_empty() {
        fields.insert(field.to_owned(), Value::Array(items));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_that_move_are_pulled_always() {
        for (image, policy) in [
            ("app", "Always"),
            ("app:latest", "Always"),
            ("host:5000/app", "Always"),
            ("host:5000/app:1", "IfNotPresent"),
            ("app@sha256:00", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    /// A renderer never changes: pods of running revisions would restart. A change is a new version.
    #[test]
    fn the_first_renderer_is_frozen() {
        let spec = json!({
            "image": "example/orders:1", "command": ["run"], "args": ["--fast"],
            "ports": [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}],
            "env": [{"name": "A", "value": "1"}, {"name": "EMPTY"}],
            "config": {"LEVEL": "info"}, "configMountPath": "/config",
            "secrets": [{"name": "s", "env": true}, {"name": "files", "mountPath": "/secret"}],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
            "probes": {
                "readiness": {"httpGet": {"port": 8080}}, "liveness": {"tcpSocket": {"port": 8080}},
                "startup": {"exec": {"command": ["true"]}, "initialDelaySeconds": 3},
            },
            "sidecars": [{"name": "proxy", "image": "example/proxy", "env": [{"name": "B", "value": "2"}]}],
            "storage": {"size": "1Gi", "mountPath": "/data"},
        });
        let spec: signalbox_crds::PortfolioAppSpec = serde_json::from_value(spec).unwrap();
        let inputs = Inputs::of(&spec, 0);
        let labels = BTreeMap::from([("signalbox.dev/owner".to_owned(), "orders".to_owned())]);
        let template = Template {
            inputs: &inputs,
            labels,
            config_map: Some("orders-1"),
            claim: Some("orders"),
        };
        insta::assert_yaml_snapshot!("renderer_1", render("1", &template));
    }

    #[test]
    fn a_version_that_is_not_known_renders_nothing() {
        let spec = serde_json::from_value(json!({ "image": "a:1" })).unwrap();
        let inputs = Inputs::of(&spec, 0);
        let template = Template {
            inputs: &inputs,
            labels: BTreeMap::new(),
            config_map: None,
            claim: None,
        };
        assert!(render(newest(), &template).is_some());
        assert!(render("0", &template).is_none());
    }
}
