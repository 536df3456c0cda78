//! Lists, pages, metadata only, and watches with a label.

use serde_json::{Value, json};

use crate::talk::{How, NAMESPACE, Talk, map, version};

/// Lists by label and page, and what a watch tells of labels that come and go.
pub(crate) async fn lists_and_watches(talk: &mut Talk) {
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    for name in ["l-1", "l-2", "l-3"] {
        talk.say(
            "apply",
            How::Apply,
            &format!("{maps}/{name}"),
            map(name, &json!({}), None, Some("1")),
        )
        .await;
    }
    talk.say(
        "apply without label",
        How::Post,
        &maps,
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "l-4" } }),
    )
    .await;
    let names = |list: &Value| -> Value {
        list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item["metadata"]["name"].clone())
            .collect()
    };
    let query = "labelSelector=signalbox.dev%2Fowner";
    let first = talk
        .read(&format!("{maps}?{query}&limit=2"), "application/json")
        .await;
    talk.note("first page", &names(&first));
    talk.note("kind", &json!([first["kind"], first["apiVersion"]]));
    let token = first["metadata"]["continue"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let second = talk
        .read(
            &format!("{maps}?{query}&limit=2&continue={token}"),
            "application/json",
        )
        .await;
    talk.note("second page", &names(&second));
    talk.note(
        "is the last",
        &json!(
            second["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .is_empty()
        ),
    );
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let slim = talk.read(&format!("{maps}?{query}"), accept).await;
    talk.note(
        "slim",
        &json!([
            slim["kind"],
            slim["items"][0]["kind"],
            slim["items"][0]["data"],
            names(&slim)
        ]),
    );
    let from = version(&slim);
    let at = |name: &str| format!("{maps}/{name}");
    talk.say(
        "a label comes",
        How::Merge,
        &at("l-4"),
        json!({ "metadata": { "labels": { "signalbox.dev/owner": "a" } } }),
    )
    .await;
    talk.say(
        "a change",
        How::Merge,
        &at("l-1"),
        json!({ "data": { "a": "1" } }),
    )
    .await;
    talk.say(
        "a label goes",
        How::Merge,
        &at("l-1"),
        json!({ "metadata": { "labels": { "signalbox.dev/owner": null } } }),
    )
    .await;
    talk.say(
        "an unseen change",
        How::Merge,
        &at("l-1"),
        json!({ "data": { "a": "2" } }),
    )
    .await;
    talk.say("a deletion", How::Delete, &at("l-2"), Value::Null)
        .await;
    talk.say("an unseen deletion", How::Delete, &at("l-1"), Value::Null)
        .await;
    let watched = talk
        .watch(&format!(
            "{maps}?{query}&watch=true&timeoutSeconds=2&resourceVersion={from}"
        ))
        .await;
    talk.note("watched", &watched);
    talk.say("clean", How::Delete, &at("l-3"), Value::Null)
        .await;
    talk.say("clean", How::Delete, &at("l-4"), Value::Null)
        .await;
    let unknown = "/apis/nothing.example/v1/things";
    talk.say("an unknown kind", How::Get, unknown, Value::Null)
        .await;
}
