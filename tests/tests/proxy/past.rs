//! States that a part never sees, and a past that it is led back to.

use std::time::Duration;

use futures::StreamExt as _;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use signalbox_proxy::{Fault, Past, Plan, Return};
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Objects, Part};

use super::{Case, SILENCE, SOON};

/// How long the past is shown.
const SHOWN: Duration = Duration::from_secs(3);

/// A case whose part may watch, and objects past it and through it.
async fn case(name: &str) -> (Case, Objects, Objects) {
    let mut case = Case::new(name).await;
    let admin = case.world.namespace(&[]).await;
    let nats = case.world.cluster.nats_url().unwrap();
    let namespace = Some(admin.namespace.clone());
    case.part = ProxiedPart::new(&case.world, Part::Watcher, nats, namespace, &[]).await;
    let through = case.part.objects(&admin.namespace).await;
    (case, admin, through)
}

async fn make(world: &Case, admin: &Objects, kind: &str, name: &str) {
    let (space, spec) = (
        &admin.namespace,
        if kind == "Service" {
            "spec: { ports: [{ port: 80 }] }"
        } else {
            "data: { round: '1' }"
        },
    );
    let document = format!(
        "apiVersion: v1\nkind: {kind}\nmetadata: {{ name: {name}, namespace: {space} }}\n{spec}\n"
    );
    world.world.apply(&document).await;
}

async fn set(admin: &Objects, name: &str, round: &str) {
    let patch = json!({"data": {"round": round}});
    admin.patch("configmap", name, patch).await;
}

/// What a list says of the object's round; none: it is not there.
async fn listed(objects: &Objects, name: &str) -> (Option<String>, String) {
    let list = objects
        .api("configmap")
        .list(&ListParams::default())
        .await
        .unwrap();
    let found = list
        .items
        .into_iter()
        .find(|o| o.metadata.name.as_deref() == Some(name));
    let round = found.map(|object| round_of(&object));
    (round, list.metadata.resource_version.unwrap())
}

fn round_of(object: &DynamicObject) -> String {
    let round = object.data.pointer("/data/round").and_then(Value::as_str);
    round.unwrap_or_default().to_owned()
}

type Stream = std::pin::Pin<
    Box<dyn futures::Stream<Item = Result<WatchEvent<DynamicObject>, kube::Error>> + Send>,
>;

async fn watch(objects: &Objects, name: &str, version: &str) -> Stream {
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    Box::pin(
        objects
            .api("configmap")
            .watch(&params, version)
            .await
            .unwrap(),
    )
}

/// The next event: its type and the object's round.
async fn next(stream: &mut Stream) -> String {
    loop {
        let event = tokio::time::timeout(SOON, stream.next()).await.unwrap();
        return match event {
            None | Some(Err(_)) => "end".to_owned(),
            Some(Ok(WatchEvent::Added(o))) => format!("ADDED {}", round_of(&o)),
            Some(Ok(WatchEvent::Modified(o))) => format!("MODIFIED {}", round_of(&o)),
            Some(Ok(WatchEvent::Deleted(o))) => format!("DELETED {}", round_of(&o)),
            Some(Ok(WatchEvent::Bookmark(_))) => continue,
            Some(Ok(WatchEvent::Error(status))) => status.code.to_string(),
        };
    }
}

/// A watch that was cut finds the past, in lists and watches, and then what is. Reads of one object and other
/// kinds are as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_led_back() {
    let (mut case, admin, through) = case("proxy-past").await;
    let space = admin.namespace.clone();
    // A watcher may not read single objects; here it may, to see that it would read what is.
    case.world
        .apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: reads, namespace: {space} }}
rules: [{{ apiGroups: [''], resources: [configmaps], verbs: [get] }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: reads, namespace: {space} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads }}
subjects: [{{ kind: ServiceAccount, name: watcher, namespace: signalbox-system }}]
"
        ))
        .await;
    for by in [Return::Cut, Return::Restart] {
        let name = format!("seen-{by:?}").to_lowercase();
        let event = |kind: &str| format!("api event {kind} configmaps {space}/{name}");
        let past = Past {
            until: event("MODIFIED"),
            nth: 2,
            by,
            ms: u64::try_from(SHOWN.as_millis()).unwrap(),
        };
        case.plan(Plan::once(&event("MODIFIED"), 1, Fault::Past(past)));
        let mut stream = watch(&through, &name, "0").await;
        make(&case, &admin, "ConfigMap", &name).await;
        set(&admin, &name, "2").await;
        for expected in ["ADDED 1", "MODIFIED 2"] {
            assert_eq!(next(&mut stream).await, expected);
        }
        assert_eq!(listed(&through, &name).await.0.as_deref(), Some("2"));
        assert!(!case.part.proxy.director.was_in_the_past());
        make(&case, &admin, "Service", &name).await;
        set(&admin, &name, "3").await;
        match by {
            Return::Cut => {
                assert_eq!(next(&mut stream).await, "MODIFIED 3");
                assert_eq!(next(&mut stream).await, "410");
                assert_eq!(next(&mut stream).await, "end");
            }
            Return::Restart => {
                case.is_killed().await;
                while next(&mut stream).await != "end" {}
            }
        }
        let through = case.part.objects(&space).await;
        admin.delete("configmap", &name).await;
        let (round, version) = listed(&through, &name).await;
        assert_eq!(round.as_deref(), Some("2"), "{by:?}");
        assert!(!case.part.proxy.director.sees_what_is());
        let live = through.api("configmap").get_opt(&name).await.unwrap();
        assert!(live.is_none(), "a read of one object is never of the past");
        let services = through.api("service");
        let services = services.list(&ListParams::default()).await.unwrap();
        let is_there = services
            .items
            .iter()
            .any(|o| o.metadata.name.as_ref() == Some(&name));
        assert_eq!(
            is_there,
            by == Return::Cut,
            "a restart leads back as a whole"
        );

        let mut stream = watch(&through, &name, &version).await;
        let early = tokio::time::timeout(SILENCE, stream.next()).await;
        assert!(early.is_err(), "the past tells nothing: {early:?}");
        match by {
            Return::Cut => assert_eq!(next(&mut stream).await, "410"),
            Return::Restart => {
                for expected in ["MODIFIED 3", "DELETED 3"] {
                    assert_eq!(next(&mut stream).await, expected);
                }
            }
        }
        assert_eq!(listed(&through, &name).await.0, None);
        assert!(case.part.proxy.director.sees_what_is());
        assert!(case.part.proxy.director.was_in_the_past());
    }
}

/// What is hidden until an event that never comes is shown in the end, and only its newest state.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_hidden_for_a_time() {
    let (mut case, admin, through) = case("proxy-hidden").await;
    let event = |kind: &str| format!("api event {kind} configmaps {}/seen", admin.namespace);
    let hold = Fault::Hold {
        until: event("DELETED"),
        nth: 1,
        at_most_ms: Some(1_500),
    };
    case.plan(Plan::once(&event("MODIFIED"), 1, hold));
    let mut stream = watch(&through, "seen", "0").await;
    make(&case, &admin, "ConfigMap", "seen").await;
    assert_eq!(next(&mut stream).await, "ADDED 1");
    for round in ["2", "3"] {
        set(&admin, "seen", round).await;
    }
    assert_eq!(next(&mut stream).await, "MODIFIED 3");
    assert!(case.part.proxy.director.sees_what_is());
    // What it changed is in the trace, hidden or not.
    let trace = case.part.proxy.director.trace();
    let changed = trace.iter().filter(|entry| entry.step == event("MODIFIED"));
    let changed: Vec<_> = changed.map(|entry| entry.changes.clone()).collect();
    assert_eq!(changed, [["/data/round"], ["/data/round"]]);
}
