//! What may differ between two runs that end alike: the one list of masked fields.

use serde_json::Value;

use signalbox_proxy::Masks;

/// Fields that are left out, as `kind path` with `*` for any kind; each with its reason.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("*", "/metadata/uid", "given by the server"),
    ("*", "/metadata/resourceVersion", "given by the server"),
    ("*", "/metadata/creationTimestamp", "a time"),
    ("*", "/metadata/managedFields", "has times"),
    ("*", "/metadata/generation", "counts the writes of all"),
    (
        "*",
        "/metadata/annotations/signalbox.dev~1applied",
        "a hash over names and uids",
    ),
    (
        "*",
        "/metadata/annotations/signalbox.dev~1reconcile-id",
        "an id of a flight",
    ),
    (
        "*",
        "/metadata/annotations/signalbox.dev~1fence",
        "only where a plan was interrupted",
    ),
    (
        "*",
        "/metadata/labels/signalbox.dev~1fence",
        "only where a plan was interrupted",
    ),
    (
        "papp",
        "/status/lastDecision",
        "says how it came about, not how it is",
    ),
    (
        "dbm",
        "/status/lastDecision",
        "says how it came about, not how it is",
    ),
    (
        "papp",
        "/status/rollout/progressedReady",
        "pods seen at some moment on the way",
    ),
    (
        "deployment",
        "/status",
        "the cluster's; the app's own status counts its pods",
    ),
    (
        "pvc",
        "/metadata/annotations",
        "the provisioner's; ours is a hash",
    ),
    ("pvc", "/status", "the cluster's"),
    ("pvc", "/spec/volumeName", "given by the provisioner"),
    ("service", "/spec/clusterIP", "given by the server"),
    ("service", "/spec/clusterIPs", "given by the server"),
];
/// In `status.claims` only these count: attempts and their times depend on deaths.
const OF_A_CLAIM: &[&str] = &["state", "result"];

/// Leaves out what may differ, and masks names, ids and times.
pub(super) fn alike(kind: &str, mut object: Value, masks: &mut Masks) -> Value {
    for (of, path, _reason) in LEFT_OUT {
        if *of == "*" || *of == kind {
            remove(&mut object, path);
        }
    }
    if let Some(Value::Object(claims)) = object.pointer_mut("/status/claims") {
        for claim in claims.values_mut() {
            if let Value::Object(fields) = claim {
                fields.retain(|field, _| OF_A_CLAIM.contains(&field.as_str()));
            }
        }
    }
    mask(&mut object, masks);
    object
}

fn remove(object: &mut Value, path: &str) {
    let Some((parent, field)) = path.rsplit_once('/') else {
        return;
    };
    let field = field.replace("~1", "/");
    if let Some(Value::Object(fields)) = object.pointer_mut(parent)
        && fields.remove(&field).is_some()
        && fields.is_empty()
    {
        // What had nothing else is as if it were not there.
        remove(object, parent);
    }
}

fn mask(value: &mut Value, masks: &mut Masks) {
    match value {
        Value::String(text) => *text = word(text, masks),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, masks)),
        Value::Object(fields) => {
            let taken = std::mem::take(fields);
            for (field, mut value) in taken {
                // A field that only some kinds have; uids of owners differ as uids do.
                if matches!(field.as_str(), "uid" | "observedGeneration") {
                    continue;
                }
                // How long something took.
                if field == "effectMs" {
                    continue;
                }
                mask(&mut value, masks);
                fields.insert(word(&field, masks), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Masked, and a time or an id become the same word always.
fn word(text: &str, masks: &mut Masks) -> String {
    let is_time = text.len() >= 20
        && text.get(10..11) == Some("T")
        && text.ends_with('Z')
        && text.starts_with("20");
    if is_time {
        return "$time".to_owned();
    }
    let dashes = [8, 13, 18, 23];
    let is_id = text.len() == 36 && dashes.iter().all(|at| text.get(*at..=*at) == Some("-"));
    if is_id {
        return "$id".to_owned();
    }
    masks.mask(text).0
}
