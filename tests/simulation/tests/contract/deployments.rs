//! A Deployment: its generation and its scale.

use serde_json::{Value, json};

use crate::talk::{How, NAMESPACE, NOBODY, Talk, uid, version};

/// Generation, scale and status of a Deployment.
pub(crate) async fn deployments(talk: &mut Talk) {
    let at = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/one");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "one", "resourceVersion": "1" },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": { "a": "b" } },
            "template": {
                "metadata": { "labels": { "a": "b" } },
                "spec": { "containers": [{ "name": "app", "image": "example.com/web:1" }] },
            },
        },
    });
    let made = talk.say("apply", How::Apply, &at, deployment).await;
    talk.note("generation", &made["metadata"]["generation"]);
    let labelled = talk
        .say(
            "label",
            How::Merge,
            &at,
            json!({ "metadata": { "labels": { "x": "y" } } }),
        )
        .await;
    talk.note("generation", &labelled["metadata"]["generation"]);
    let scale = |object: &Value, replicas: i64, uid: &str| {
        json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": { "name": "one", "namespace": NAMESPACE, "uid": uid, "resourceVersion": version(object) },
            "spec": { "replicas": replicas },
        })
    };
    let path = format!("{at}/scale");
    talk.say(
        "scale, stale",
        How::Put,
        &path,
        scale(&made, 1, &uid(&made)),
    )
    .await;
    let now = talk.say("get", How::Get, &at, Value::Null).await;
    talk.say("scale, wrong uid", How::Put, &path, scale(&now, 1, NOBODY))
        .await;
    let now = talk.say("get", How::Get, &at, Value::Null).await;
    let scaled = talk
        .say("scale", How::Put, &path, scale(&now, 1, &uid(&made)))
        .await;
    talk.note("kind", &scaled["kind"]);
    talk.note("replicas", &scaled["spec"]["replicas"]);
    talk.note("its uid", &json!(uid(&scaled) == uid(&made)));
    let now = talk.say("get", How::Get, &at, Value::Null).await;
    talk.note("generation", &now["metadata"]["generation"]);
    let read = talk.say("get scale", How::Get, &path, Value::Null).await;
    talk.note("replicas", &read["spec"]["replicas"]);
    talk.say(
        "scale, absent",
        How::Put,
        &path.replace("one", "none"),
        json!({ "metadata": { "name": "none", "namespace": NAMESPACE }, "spec": { "replicas": 1 } }),
    )
    .await;
    talk.say(
        "delete",
        How::Delete,
        &at,
        json!({ "propagationPolicy": "Background" }),
    )
    .await;
}
