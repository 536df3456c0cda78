//! A custom resource: merge patches, its status, its generation, its finalizers.

use serde_json::{Value, json};

use crate::talk::{How, NAMESPACE, NOBODY, Talk, uid, version};

/// Merge patches, PUTs, status, generation and finalizers of a custom resource.
pub(crate) async fn customs(talk: &mut Talk) {
    let apps = format!("/apis/signalbox.dev/v1alpha1/namespaces/{NAMESPACE}/portfolioapps");
    let at = format!("{apps}/one");
    let status = format!("{at}/status");
    let app = json!({
        "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
        "metadata": { "name": "one" }, "spec": { "image": "example.com/web:1", "replicas": 2 },
        "status": { "phase": "Ready" },
    });
    let made = talk.say("post", How::Post, &apps, app.clone()).await;
    let migration = json!({
        "apiVersion": "signalbox.dev/v1alpha1", "kind": "DatabaseMigration",
        "metadata": { "name": "one" },
        "spec": {
            "target": { "urlFrom": { "name": "db", "key": "url" } },
            "files": [{ "name": "V1__a.sql", "phase": "Expand", "sql": "SELECT 1" }],
        },
    });
    let migrations = apps.replace("portfolioapps", "databasemigrations");
    let migration = talk
        .say("post a migration", How::Post, &migrations, migration)
        .await;
    talk.note("status", &migration["status"]);
    talk.note("generation", &made["metadata"]["generation"]);
    talk.note("status", &made["status"]);
    let fence = |object: &Value, rest: Value| {
        let mut body =
            json!({ "metadata": { "uid": uid(object), "resourceVersion": version(object) } });
        signalbox_simulation::api::json::merge(&mut body, &rest);
        body
    };
    let told = talk
        .say(
            "status",
            How::Merge,
            &status,
            fence(
                &made,
                json!({ "status": { "phase": "Pending" }, "spec": { "image": "other" } }),
            ),
        )
        .await;
    talk.note("generation", &told["metadata"]["generation"]);
    talk.note("image", &told["spec"]["image"]);
    talk.note("status", &told["status"]);
    talk.say(
        "status, stale",
        How::Merge,
        &status,
        fence(&made, json!({ "status": { "phase": "x" } })),
    )
    .await;
    let wrong = json!({ "metadata": { "uid": NOBODY, "resourceVersion": version(&told) }, "status": { "phase": "Progressing" } });
    let told = talk
        .say("status, wrong uid", How::Merge, &status, wrong)
        .await;
    talk.note("status", &told["status"]);
    let same = talk
        .say(
            "status, nothing new",
            How::Merge,
            &status,
            fence(&told, json!({ "status": { "phase": "Progressing" } })),
        )
        .await;
    talk.note("same version", &json!(version(&same) == version(&told)));
    let changed = talk
        .say(
            "spec",
            How::Merge,
            &at,
            fence(
                &told,
                json!({ "spec": { "image": "example.com/web:2" }, "status": { "phase": "lost" } }),
            ),
        )
        .await;
    talk.note("generation", &changed["metadata"]["generation"]);
    talk.note("status", &changed["status"]);
    talk.say(
        "spec, stale",
        How::Merge,
        &at,
        fence(&told, json!({ "spec": { "replicas": 3 } })),
    )
    .await;
    let wrong = json!({ "metadata": { "uid": NOBODY, "resourceVersion": version(&changed) }, "spec": { "replicas": 3 } });
    talk.say("spec, wrong uid", How::Merge, &at, wrong).await;
    let mut whole = changed.clone();
    whole["metadata"]["resourceVersion"] = Value::Null;
    talk.say("put, no version", How::Put, &at, whole).await;
    let held = talk
        .say(
            "finalizer",
            How::Merge,
            &at,
            fence(
                &changed,
                json!({ "metadata": { "finalizers": ["signalbox.dev/finalizer"] } }),
            ),
        )
        .await;
    talk.note("generation", &held["metadata"]["generation"]);
    talk.say(
        "status, absent",
        How::Merge,
        &format!("{apps}/none/status"),
        json!({ "status": {} }),
    )
    .await;
    let going = talk
        .say(
            "delete, held",
            How::Delete,
            &at,
            json!({ "preconditions": { "uid": uid(&made) } }),
        )
        .await;
    talk.note("generation", &going["metadata"]["generation"]);
    talk.note(
        "is going",
        &json!(going["metadata"]["deletionTimestamp"].is_string()),
    );
    let again = talk
        .say("delete again", How::Delete, &at, Value::Null)
        .await;
    talk.note("same version", &json!(version(&again) == version(&going)));
    talk.say(
        "another finalizer",
        How::Merge,
        &at,
        json!({ "metadata": { "finalizers": ["signalbox.dev/finalizer", "a.example/b"] } }),
    )
    .await;
    talk.say(
        "status while going",
        How::Merge,
        &status,
        fence(&going, json!({ "status": { "phase": "Terminating" } })),
    )
    .await;
    talk.say(
        "no finalizer",
        How::Merge,
        &at,
        json!({ "metadata": { "uid": uid(&made), "finalizers": [] } }),
    )
    .await;
    talk.say("get, gone", How::Get, &at, Value::Null).await;
    talk.say("put, gone", How::Put, &at, app).await;
}
