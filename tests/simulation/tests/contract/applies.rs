//! Server-side apply and its fences; deletions with preconditions.

use serde_json::{Value, json};

use crate::talk::{How, NAMESPACE, NOBODY, Talk, map, uid, version};

/// The table of compare-and-set with server-side apply.
pub(crate) async fn applies(talk: &mut Talk) {
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let at = format!("{maps}/one");
    let body =
        |data: Value, uid: Option<&str>, version: Option<&str>| map("one", &data, uid, version);
    talk.say(
        "apply, wrong uid, absent",
        How::Apply,
        &at,
        body(json!({}), Some(NOBODY), None),
    )
    .await;
    let made = talk
        .say(
            "apply, version 1, absent",
            How::Apply,
            &at,
            body(json!({"a": "1", "b": "1"}), None, Some("1")),
        )
        .await;
    talk.say(
        "apply, version 1, there",
        How::Apply,
        &at,
        body(json!({"a": "2"}), None, Some("1")),
    )
    .await;
    let same = talk
        .say(
            "apply, nothing new",
            How::Apply,
            &at,
            body(
                json!({"a": "1", "b": "1"}),
                Some(&uid(&made)),
                Some(&version(&made)),
            ),
        )
        .await;
    talk.note("same version", &json!(version(&same) == version(&made)));
    let next = talk
        .say(
            "apply, current",
            How::Apply,
            &at,
            body(json!({"a": "2"}), Some(&uid(&made)), Some(&version(&made))),
        )
        .await;
    talk.note("data", &next["data"]);
    talk.note("another version", &json!(version(&next) != version(&made)));
    talk.say(
        "apply, stale",
        How::Apply,
        &at,
        body(json!({"a": "2"}), Some(&uid(&made)), Some(&version(&made))),
    )
    .await;
    talk.say(
        "apply, wrong uid",
        How::Apply,
        &at,
        body(json!({"a": "2"}), Some(NOBODY), Some(&version(&next))),
    )
    .await;
    talk.say(
        "apply, no version",
        How::Apply,
        &at,
        body(json!({"a": "3"}), None, None),
    )
    .await;
    talk.say(
        "apply, version 0",
        How::Apply,
        &at,
        body(json!({"a": "4"}), None, Some("0")),
    )
    .await;
    let foreign = talk
        .say(
            "merge by another",
            How::Merge,
            &at,
            json!({ "data": { "x": "1" } }),
        )
        .await;
    talk.note("data", &foreign["data"]);
    let last = talk
        .say(
            "apply over it",
            How::Apply,
            &at,
            body(
                json!({"a": "5"}),
                Some(&uid(&made)),
                Some(&version(&foreign)),
            ),
        )
        .await;
    talk.note("a", &last["data"]["a"]);
    talk.say(
        "post, there",
        How::Post,
        &maps,
        map("one", &json!({}), None, None),
    )
    .await;
    talk.say(
        "delete, wrong uid",
        How::Delete,
        &at,
        json!({ "preconditions": { "uid": NOBODY } }),
    )
    .await;
    talk.say(
        "delete, stale",
        How::Delete,
        &at,
        json!({ "preconditions": { "uid": uid(&made), "resourceVersion": version(&made) } }),
    )
    .await;
    talk.say(
        "delete",
        How::Delete,
        &at,
        json!({ "preconditions": { "uid": uid(&made), "resourceVersion": version(&last) } }),
    )
    .await;
    talk.say(
        "delete, absent",
        How::Delete,
        &at,
        json!({ "preconditions": { "uid": uid(&made) } }),
    )
    .await;
    talk.say("get, absent", How::Get, &at, Value::Null).await;
    talk.say("merge, absent", How::Merge, &at, json!({})).await;
    talk.say(
        "put, absent",
        How::Put,
        &at,
        map("one", &json!({}), None, None),
    )
    .await;
    talk.say(
        "apply, stale version, absent",
        How::Apply,
        &at,
        body(json!({"a": "1"}), None, Some(&version(&made))),
    )
    .await;
    talk.say(
        "delete without preconditions",
        How::Delete,
        &at,
        Value::Null,
    )
    .await;
}
