//! The Deployment of one revision. Renderer 1: a golden file freezes what it makes.

use serde_json::{Map, Value, json};
use signalbox_common::kinds::ChildKind;
use signalbox_crds::app::{EnvVar, Probe, Resources, Sidecar};
use signalbox_crds::names;

use super::service::protocol;
use super::{Meta, Wanted, put, wanted};
use crate::portfolio::quantity;
use crate::portfolio::view::View;

/// Version of the renderer below: noted on what it made. A change of what it makes is a new version.
pub(crate) const RENDERER: &str = "1";

/// Deployment `<app>-<revision>`, rolled out beside `base`. Its replicas are not part of the hash.
pub(crate) fn build(view: &View<'_>, revision: &str, base: &str, replicas: i64) -> Wanted {
    let spec = json!({
        "selector": { "matchLabels": selector(view, revision) },
        "template": template(view, revision, base),
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
        "revisionHistoryLimit": 0,
        "progressDeadlineSeconds": 600,
    });
    let meta = Meta {
        revision: Some(revision),
        annotations: vec![
            (names::ANNOTATION_RENDERER, RENDERER.to_owned()),
            (names::ANNOTATION_BASE, base.to_owned()),
        ],
        survives: false,
    };
    let name = view.child_name(revision);
    let mut child = wanted(
        view,
        ChildKind::Deployment,
        name,
        &meta,
        json!({ "spec": spec }),
    );
    if let Some(spec) = child.object.get_mut("spec") {
        put(spec, "replicas", json!(replicas));
    }
    child
}

fn selector(view: &View<'_>, revision: &str) -> Value {
    json!({ names::LABEL_OWNER: view.name(), names::LABEL_REVISION: revision })
}

fn template(view: &View<'_>, revision: &str, base: &str) -> Value {
    let spec = view.spec;
    let mut labels = selector(view, revision);
    put(&mut labels, "app.kubernetes.io/name", json!(view.name()));
    put(&mut labels, &names::serves_label(revision), json!("true"));
    put(&mut labels, &names::serves_label(base), json!("true"));
    let mut pod = json!({
        "containers": [main_container(view, revision)],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": spec.termination_grace_period_seconds,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {},
    });
    if !spec.sidecars.is_empty() {
        let sidecars: Vec<Value> = spec.sidecars.iter().map(sidecar).collect();
        put(&mut pod, "initContainers", json!(sidecars));
    }
    let volumes = volumes(view, revision);
    if !volumes.is_empty() {
        put(&mut pod, "volumes", json!(volumes));
    }
    json!({ "metadata": { "labels": labels }, "spec": pod })
}

fn main_container(view: &View<'_>, revision: &str) -> Value {
    let spec = view.spec;
    let mut container = container(
        "app",
        &spec.image,
        &spec.command,
        &spec.args,
        &spec.env,
        spec.resources.as_ref(),
    );
    let ports: Vec<Value> = spec
        .ports
        .iter()
        .map(|p| json!({ "name": p.name, "containerPort": p.port, "protocol": protocol(p.protocol) }))
        .collect();
    if !ports.is_empty() {
        put(&mut container, "ports", json!(ports));
    }
    let mut sources = Vec::new();
    if !spec.config.is_empty() {
        sources.push(json!({ "configMapRef": { "name": view.child_name(revision) } }));
    }
    for secret in spec.secrets.iter().filter(|s| s.env) {
        sources.push(json!({ "secretRef": { "name": secret.name } }));
    }
    if !sources.is_empty() {
        put(&mut container, "envFrom", json!(sources));
    }
    let mounts = mounts(view);
    if !mounts.is_empty() {
        put(&mut container, "volumeMounts", json!(mounts));
    }
    if let Some(probes) = &spec.probes {
        for (key, one) in [
            ("readinessProbe", &probes.readiness),
            ("livenessProbe", &probes.liveness),
            ("startupProbe", &probes.startup),
        ] {
            if let Some(one) = one {
                put(&mut container, key, probe(one));
            }
        }
    }
    container
}

fn container(
    name: &str,
    image: &str,
    command: &[String],
    args: &[String],
    env: &[EnvVar],
    resources: Option<&Resources>,
) -> Value {
    let mut container = json!({
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy(image),
        "resources": resources.map_or_else(|| json!({}), limits),
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    });
    if !command.is_empty() {
        put(&mut container, "command", json!(command));
    }
    if !args.is_empty() {
        put(&mut container, "args", json!(args));
    }
    if !env.is_empty() {
        let env: Vec<Value> = env.iter().map(variable).collect();
        put(&mut container, "env", json!(env));
    }
    container
}

/// The server drops an empty value.
fn variable(env: &EnvVar) -> Value {
    if env.value.is_empty() {
        json!({ "name": env.name })
    } else {
        json!({ "name": env.name, "value": env.value })
    }
}

fn sidecar(sidecar: &Sidecar) -> Value {
    let mut container = container(
        &sidecar.name,
        &sidecar.image,
        &sidecar.command,
        &sidecar.args,
        &sidecar.env,
        sidecar.resources.as_ref(),
    );
    put(&mut container, "restartPolicy", json!("Always"));
    container
}

/// As the server defaults it: a moving tag is pulled always.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn limits(resources: &Resources) -> Value {
    let mut value = json!({});
    for (key, map) in [
        ("limits", &resources.limits),
        ("requests", &resources.requests),
    ] {
        if !map.is_empty() {
            let map: Map<String, Value> = map
                .iter()
                .map(|(k, v)| (k.clone(), json!(quantity::canonical(v))))
                .collect();
            put(&mut value, key, Value::Object(map));
        }
    }
    // The server fills absent requests from the limits.
    if !resources.limits.is_empty() {
        let mut requests = value.get("requests").cloned().unwrap_or_else(|| json!({}));
        for (key, limit) in &resources.limits {
            if requests.get(key).is_none() {
                put(&mut requests, key, json!(quantity::canonical(limit)));
            }
        }
        put(&mut value, "requests", requests);
    }
    value
}

fn volumes(view: &View<'_>, revision: &str) -> Vec<Value> {
    let mut volumes = Vec::new();
    if view.spec.config_mount_path.is_some() {
        let source = json!({ "name": view.child_name(revision), "defaultMode": 420 });
        volumes.push(json!({ "name": "config", "configMap": source }));
    }
    for (index, secret) in view
        .spec
        .secrets
        .iter()
        .enumerate()
        .filter(|(_, s)| s.mount_path.is_some())
    {
        let source = json!({ "secretName": secret.name, "defaultMode": 420 });
        volumes.push(json!({ "name": format!("secret-{index}"), "secret": source }));
    }
    if view.spec.storage.is_some() {
        volumes.push(
            json!({ "name": "storage", "persistentVolumeClaim": { "claimName": view.name() } }),
        );
    }
    volumes
}

fn mounts(view: &View<'_>) -> Vec<Value> {
    let mut mounts = Vec::new();
    if let Some(path) = &view.spec.config_mount_path {
        mounts.push(json!({ "name": "config", "mountPath": path, "readOnly": true }));
    }
    for (index, secret) in view.spec.secrets.iter().enumerate() {
        if let Some(path) = &secret.mount_path {
            mounts.push(
                json!({ "name": format!("secret-{index}"), "mountPath": path, "readOnly": true }),
            );
        }
    }
    if let Some(storage) = &view.spec.storage {
        mounts.push(json!({ "name": "storage", "mountPath": storage.mount_path }));
    }
    mounts
}

fn probe(probe: &Probe) -> Value {
    let mut value = json!({
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "failureThreshold": probe.failure_threshold,
        "successThreshold": 1,
    });
    if probe.initial_delay_seconds > 0 {
        put(
            &mut value,
            "initialDelaySeconds",
            json!(probe.initial_delay_seconds),
        );
    }
    if let Some(http) = &probe.http_get {
        put(
            &mut value,
            "httpGet",
            json!({ "path": http.path, "port": http.port, "scheme": "HTTP" }),
        );
    }
    if let Some(tcp) = &probe.tcp_socket {
        put(&mut value, "tcpSocket", json!({ "port": tcp.port }));
    }
    if let Some(exec) = &probe.exec {
        put(&mut value, "exec", json!({ "command": exec.command }));
    }
    value
}
