"""A peer of the bench: ConfigMap, Service, Deployment and status of a PortfolioApp, as a good user of kopf
writes it: owned children, an index of them to compare with, a write only where something differs."""

import asyncio
import hashlib
import json
import logging
from datetime import UTC, datetime

import kopf
from kubernetes_asyncio import client, config

APPS = ("signalbox.dev", "v1alpha1", "portfolioapps")
MANAGER = "peer-kopf"
MANAGED = {"app.kubernetes.io/managed-by": MANAGER}


@kopf.on.startup()
async def start(settings, memo, **_):
    settings.posting.enabled = False
    settings.persistence.finalizer = "peer.signalbox.dev/kopf"
    settings.scanning.disabled = True
    await config.load_kube_config()
    memo.api = client.ApiClient()


@kopf.on.cleanup()
async def stop(memo, **_):
    await memo.api.close()


# What is known of children and apps, by namespace and name; kopf keeps it up to date.


@kopf.index("configmaps", labels=MANAGED)
def config_maps(namespace, name, body, **_):
    return {(namespace, name): {"data": {}, **slim(body)}}


@kopf.index("services", labels=MANAGED)
def services(namespace, name, body, **_):
    return {(namespace, name): slim(body)}


@kopf.index("deployments", labels=MANAGED)
def deployments(namespace, name, body, **_):
    return {(namespace, name): slim(body)}


@kopf.index(*APPS)
def apps(namespace, name, body, **_):
    return {(namespace, name): slim(body)}


def slim(body):
    """A plain copy without what nobody compares."""
    copy = {key: plain(body[key]) for key in ("apiVersion", "kind", "spec", "data", "status") if key in body}
    metadata = body["metadata"]
    fields = ("name", "namespace", "uid", "labels", "ownerReferences", "generation")
    copy["metadata"] = {key: plain(metadata[key]) for key in fields if key in metadata}
    return copy


def plain(value):
    if isinstance(value, dict) or hasattr(value, "items"):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


@kopf.on.create(*APPS)
@kopf.on.resume(*APPS)
@kopf.on.update(*APPS, field="spec")
async def reconcile(namespace, name, body, patch, memo, config_maps, services, deployments, **_):
    app = slim(body)
    known = (config_maps, services, deployments)
    wanted = zip((config_map(app), service(app), deployment(app)), known, strict=True)
    await asyncio.gather(*(apply(memo, child, index) for child, index in wanted))
    ready = first(deployments, (namespace, name)).get("status", {}).get("readyReplicas", 0)
    status = status_of(app, ready)
    if status != app.get("status"):
        patch.status.update(status)


@kopf.on.event("configmaps", labels=MANAGED)
async def config_map_changed(memo, namespace, name, apps, config_maps, **_):
    if app := first(apps, (namespace, name)):
        await apply(memo, config_map(app), config_maps)


@kopf.on.event("services", labels=MANAGED)
async def service_changed(memo, namespace, name, apps, services, **_):
    if app := first(apps, (namespace, name)):
        await apply(memo, service(app), services)


@kopf.on.event("deployments", labels=MANAGED)
async def deployment_changed(memo, namespace, name, status, apps, deployments, **_):
    app = first(apps, (namespace, name))
    if not app:
        return
    await apply(memo, deployment(app), deployments)
    ready = status.get("readyReplicas", 0)
    if ready != app.get("status", {}).get("readyReplicas", 0):
        body = {"status": status_of(app, ready)}
        patch = client.CustomObjectsApi(memo.api).patch_namespaced_custom_object_status
        await patch(*APPS[:2], namespace, APPS[2], name, body, _content_type="application/merge-patch+json")


def first(index, key):
    """The object of an index, or an empty one."""
    return next(iter(index.get(key, ())), {})


async def apply(memo, child, index):
    """Writes a child where it differs from what is known of it."""
    metadata = child["metadata"]
    key = (metadata["namespace"], metadata["name"])
    live = first(index, key)
    if all(covers(live.get(part), child.get(part)) for part in ("metadata", "spec")) and live.get("data") == child.get("data"):
        return
    core, workloads = client.CoreV1Api(memo.api), client.AppsV1Api(memo.api)
    patch = {
        "ConfigMap": core.patch_namespaced_config_map,
        "Service": core.patch_namespaced_service,
        "Deployment": workloads.patch_namespaced_deployment,
    }[child["kind"]]
    await patch(
        key[1],
        key[0],
        child,
        field_manager=MANAGER,
        force=True,
        _content_type="application/apply-patch+yaml",
        _preload_content=False,
    )


def covers(live, wanted):
    """Whether all of `wanted` stands in `live`; what else the API server filled in does not matter."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(covers(live.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return live == wanted


def status_of(app, ready):
    """The status of an app so many of whose pods are ready; times stay where nothing changed."""
    generation = app["metadata"]["generation"]
    is_ready = ready >= app["spec"]["replicas"]
    condition = {
        "type": "Ready",
        "status": "True" if is_ready else "False",
        "reason": "Available" if is_ready else "Progressing",
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    for old in app.get("status", {}).get("conditions", []):
        if (old["type"], old["status"]) == (condition["type"], condition["status"]):
            condition["lastTransitionTime"] = old["lastTransitionTime"]
    return {
        "observedGeneration": generation,
        "phase": "Ready" if is_ready else "Progressing",
        "conditions": [condition],
        "replicas": app["spec"]["replicas"],
        "readyReplicas": ready,
        "selector": "app.kubernetes.io/name=" + app["metadata"]["name"],
    }


def child_of(app, api_version, kind, **content):
    metadata = app["metadata"]
    child = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**MANAGED, **selector(app)},
        },
        **content,
    }
    kopf.append_owner_reference(child, owner=app)
    return child


def selector(app):
    return {"app.kubernetes.io/name": app["metadata"]["name"]}


def config_map(app):
    return child_of(app, "v1", "ConfigMap", data=app["spec"].get("config", {}))


def service(app):
    ports = [
        {
            "name": port["name"],
            "port": port.get("servicePort", port["port"]),
            "targetPort": port["port"],
            "protocol": "TCP",
        }
        for port in app["spec"].get("ports", [])
    ]
    return child_of(app, "v1", "Service", spec={"selector": selector(app), "ports": ports})


def deployment(app):
    spec = app["spec"]
    text = json.dumps(spec.get("config", {}), sort_keys=True)
    ports = [
        {"name": port["name"], "containerPort": port["port"], "protocol": "TCP"} for port in spec.get("ports", [])
    ]
    container = {
        "name": "app",
        "image": spec["image"],
        "envFrom": [{"configMapRef": {"name": app["metadata"]["name"]}}],
        "ports": ports,
    }
    template = {
        "metadata": {
            "labels": {**MANAGED, **selector(app)},
            "annotations": {"peer.signalbox.dev/config-hash": hashlib.sha256(text.encode()).hexdigest()[:16]},
        },
        "spec": {"containers": [container]},
    }
    wanted = {"replicas": spec["replicas"], "selector": {"matchLabels": selector(app)}, "template": template}
    return child_of(app, "apps/v1", "Deployment", spec=wanted)


logging.getLogger("kopf.objects").setLevel(logging.WARNING)
