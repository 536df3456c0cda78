//! What the caches hold once.

use serde_json::json;
use signalbox_common::wire::trim::trim_as;

use super::*;

fn live(kind: &str, name: &str, labels: &Value) -> LiveObject {
    let object = json!({ "metadata": {
        "name": name, "namespace": "n", "uid": name, "resourceVersion": "1", "labels": labels,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "ownerReferences": [{ "kind": "PortfolioApp", "name": "web", "uid": "web" }],
    } });
    trim_as(kind, object).unwrap()
}

fn child(cache: &mut Cache, kind: ChildKind) -> ChildKey {
    let key = ChildKey {
        kind,
        namespace: "n".to_owned(),
        name: "x".to_owned(),
    };
    let labels = json!({ LABEL_OWNER_UID: "web" });
    cache.put_child(key.clone(), Child::new(&live(kind.as_str(), "x", &labels)));
    key
}

#[test]
fn an_owners_uid_is_held_once() {
    let mut cache = Cache::default();
    let kind = Kind::PortfolioApp;
    let app = ObjectKey::new(kind, "n", "web");
    let before = child(&mut cache, ChildKind::Service);
    let object = Custom::new(kind, "n", &live(kind.as_str(), "web", &json!({})));
    cache.put_object(&app, object);
    let after = child(&mut cache, ChildKind::ConfigMap);
    let held = &cache.object(&app).unwrap().uid;
    for key in [before, after] {
        let owners = &cache.child(&key).unwrap().owners;
        assert_eq!(owners.len(), 1, "label and reference name the same");
        assert!(Arc::ptr_eq(&owners[0], held));
    }
    assert_eq!(cache.children_of("web").count(), 2);
}
