//! The end of a run, in words that two runs which end alike share.

use std::collections::BTreeMap;

use serde_json::Value;
use signalbox_proxy::Masks;
use tokio_postgres::NoTls;

use super::lane::Run;
use super::unlike::alike;

/// Kinds whose objects are compared.
const KINDS: [&str; 9] = [
    "papp",
    "dbm",
    "deployment",
    "service",
    "configmap",
    "pvc",
    "hpa",
    "pdb",
    "lease",
];

/// What is compared: lines that have to be the same, by what they are about.
pub(super) type Snapshot = BTreeMap<String, String>;

/// Takes it; `masks` knows the names of the run.
pub(super) async fn take(run: &Run<'_>, mut masks: Masks) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for kind in KINDS {
        for object in run.objects().list(kind).await {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if !name.starts_with(run.name()) {
                continue;
            }
            let about = format!("{kind} {}", masks.mask(name).0);
            let object = alike(kind, object, &mut masks);
            flatten(&about, &object, &mut snapshot);
        }
    }
    for (change, count) in run.changes() {
        let line = format!("count {}", masks.mask(&change).0);
        snapshot.insert(line, count.to_string());
    }
    if let Some(url) = run.own_database() {
        for (line, count) in effects(&url).await {
            snapshot.insert(line, count.to_string());
        }
    }
    snapshot
}

/// One line for each leaf, so that a difference names its field.
fn flatten(about: &str, value: &Value, into: &mut Snapshot) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                flatten(&format!("{about}.{field}"), value, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{about}[{index}]"), value, into);
            }
        }
        leaf @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => {
            into.insert(about.to_owned(), leaf.to_string());
        }
    }
}

/// Rows of the history and of what the files did.
async fn effects(url: &str) -> Vec<(String, i64)> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the database is there");
    let connection = tokio::spawn(connection);
    let mut lines = Vec::new();
    for (word, sql) in [
        (
            "history",
            "SELECT version::text || ' ' || state, count(*) FROM signalbox.history GROUP BY 1",
        ),
        (
            "effect",
            "SELECT file::text, count(*) FROM effects GROUP BY 1",
        ),
    ] {
        // Before the first file there is no such table.
        for row in client.query(sql, &[]).await.unwrap_or_default() {
            lines.push((
                format!("sql {word} {}", row.get::<_, String>(0)),
                row.get(1),
            ));
        }
    }
    connection.abort();
    lines
}

/// Lines that differ, each with both values.
pub(super) fn differences(expected: &Snapshot, found: &Snapshot) -> Vec<String> {
    let names = expected.keys().chain(found.keys());
    let names: std::collections::BTreeSet<_> = names.collect();
    let value = |of: &Snapshot, name: &str| of.get(name).cloned().unwrap_or("none".to_owned());
    names
        .into_iter()
        .filter(|name| expected.get(*name) != found.get(*name))
        .map(|name| {
            format!(
                "{name}: expected {}, found {}",
                value(expected, name),
                value(found, name)
            )
        })
        .collect()
}
