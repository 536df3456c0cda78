//! Requests and watches of the API server.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use signalbox_proxy::{Direction, Fault, Loss, Place, Plan, Protocol};
use signalbox_tests::proxied::ProxiedPart;
use signalbox_tests::{Objects, Part};

use super::{Case, SILENCE, SOON};

/// Makes a `ConfigMap`; the code of the answer, or none.
async fn create(objects: &Objects, name: &str) -> Option<u16> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": objects.namespace},
    });
    let object = serde_json::from_value(object).unwrap();
    let api = objects.api("configmap");
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Some(201),
        Err(kube::Error::Api(status)) => Some(status.code),
        Err(_) => None,
    }
}

/// What the client sees of a create under a fault, whether it took effect, whether the part died.
#[tokio::test(flavor = "multi_thread")]
async fn requests() {
    let mut case = Case::new("proxy-api").await;
    let admin = case.world.namespace(&[]).await;
    let through = case.part.objects(&admin.namespace).await;
    let refuse = |code, retry_after| Fault::Refuse { code, retry_after };
    let cases = [
        (None, Some(201), true, false),
        (Some(refuse(403, None)), Some(403), false, false),
        (Some(refuse(409, None)), Some(409), false, false),
        (Some(refuse(422, None)), Some(422), false, false),
        (Some(refuse(429, Some(1))), Some(429), false, false),
        (Some(refuse(500, None)), Some(500), false, false),
        (Some(refuse(503, None)), Some(503), false, false),
        (Some(Fault::Lose(Loss::Timeout)), Some(504), true, false),
        (Some(Fault::Lose(Loss::Reset)), None, true, false),
        (Some(Fault::Cut), None, false, false),
        (Some(Fault::Duplicate), Some(201), true, false),
        (Some(Fault::Kill(Place::Before)), None, false, true),
        (Some(Fault::Kill(Place::Answer)), None, true, true),
        (Some(Fault::Kill(Place::After)), Some(201), true, true),
    ];
    for (number, (fault, answer, effect, dies)) in cases.into_iter().enumerate() {
        let name = format!("made-{number}");
        let step = format!("api create configmaps {}/{name}", admin.namespace);
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let mark = case.world.audit().mark();
        assert_eq!(create(&through, &name).await, answer, "{fault:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        let made = admin.find("configmap", &name).await.is_some();
        assert_eq!(made, effect, "{fault:?}");
        let steps = case.part.proxy.director.trace();
        assert_eq!(steps[0].step, step);
        assert_eq!(
            case.part.proxy.director.made().len(),
            usize::from(fault.is_some())
        );
        // The server knows it as the part that it is; what was sent twice it heard twice.
        let heard = case.world.audit().writes_since(mark);
        let heard: Vec<_> = heard.iter().filter(|w| w.name == name).collect();
        let times = if fault == Some(Fault::Duplicate) {
            2
        } else {
            usize::from(effect)
        };
        assert_eq!(heard.len(), times, "{fault:?}");
        assert!(heard.iter().all(|w| w.user == Part::Executor.user()));
    }

    case.plan(Plan::every("api create *", Fault::Delay { ms: 400 }));
    let begun = Instant::now();
    assert_eq!(create(&through, "later").await, Some(201));
    assert!(begun.elapsed() >= Duration::from_millis(400));

    case.plan(Plan::every("api create *", Fault::Drop));
    let dropped = tokio::time::timeout(SILENCE, create(&through, "dropped")).await;
    assert!(dropped.is_err() && admin.find("configmap", "dropped").await.is_none());

    // A partition: what was sent goes on when it heals.
    case.plan(Plan::default());
    for (direction, effect) in [(Direction::ToServer, false), (Direction::ToPart, true)] {
        let name = format!("parted-{effect}");
        case.part.proxy.part_from(Protocol::Api, direction);
        let mut asked = Box::pin(create(&through, &name));
        let early = tokio::time::timeout(SILENCE, &mut asked).await;
        assert!(early.is_err(), "{direction:?}");
        let made = admin.find("configmap", &name).await.is_some();
        assert_eq!(made, effect, "{direction:?}");
        case.part.proxy.heal(Protocol::Api, direction);
        assert_eq!(asked.await, Some(201));
    }
}

/// What a watch tells under each fault.
#[tokio::test(flavor = "multi_thread")]
async fn watches() {
    let mut case = Case::new("proxy-watch").await;
    let admin = case.world.namespace(&[]).await;
    // A part that may watch.
    let nats = case.world.cluster.nats_url().unwrap();
    case.part = ProxiedPart::new(
        &case.world,
        Part::Watcher,
        nats,
        Some(admin.namespace.clone()),
        &[],
    )
    .await;
    let through = case.part.objects(&admin.namespace).await;
    let hold = Fault::Hold {
        until: "api event DELETED configmaps *".to_owned(),
        nth: 1,
        at_most_ms: None,
    };
    let cases = [
        (None, "ADDED MODIFIED DELETED"),
        (Some(Fault::Drop), "ADDED DELETED"),
        (Some(Fault::Duplicate), "ADDED MODIFIED MODIFIED DELETED"),
        (Some(Fault::Delay { ms: 100 }), "ADDED MODIFIED DELETED"),
        (Some(Fault::Cut), "ADDED"),
        (Some(Fault::Gone), "ADDED 410"),
        (Some(Fault::Kill(Place::Before)), "ADDED"),
        (Some(hold.clone()), "ADDED DELETED"),
    ];
    for (number, (fault, expected)) in cases.into_iter().enumerate() {
        let name = format!("seen-{number}");
        let at = format!("api event MODIFIED configmaps {}/{name}", admin.namespace);
        let plan = fault.clone().map(|fault| Plan::once(&at, 1, fault));
        case.plan(plan.unwrap_or_default());
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let stream = through.api("configmap").watch(&params, "0").await.unwrap();
        let mut stream = Box::pin(stream);
        assert_eq!(create(&admin, &name).await, Some(201));
        admin
            .patch("configmap", &name, json!({"data": {"a": "b"}}))
            .await;
        admin.delete("configmap", &name).await;
        let mut told = Vec::new();
        let words = expected.split(' ').count();
        while told.len() < words {
            let word = match tokio::time::timeout(SOON, stream.next()).await.unwrap() {
                None | Some(Err(_)) => break,
                Some(Ok(WatchEvent::Added(_))) => "ADDED".to_owned(),
                Some(Ok(WatchEvent::Modified(_))) => "MODIFIED".to_owned(),
                Some(Ok(WatchEvent::Deleted(_))) => "DELETED".to_owned(),
                Some(Ok(WatchEvent::Bookmark(_))) => continue,
                Some(Ok(WatchEvent::Error(status))) => status.code.to_string(),
            };
            told.push(word);
        }
        assert_eq!(told.join(" "), expected, "{fault:?}");
        let more = tokio::time::timeout(SILENCE, stream.next()).await;
        let ends = matches!(more, Ok(None | Some(Err(_))));
        let cut = matches!(fault, Some(Fault::Cut | Fault::Gone | Fault::Kill(_)));
        assert_eq!(ends, cut, "{fault:?}: {more:?}");
        if fault == Some(Fault::Kill(Place::Before)) {
            case.is_killed().await;
        }
    }

    // Confined to a namespace, a list of all namespaces tells of this one alone.
    let other = case.world.namespace(&[]).await;
    assert_eq!(create(&other, "elsewhere").await, Some(201));
    assert_eq!(create(&admin, "here").await, Some(201));
    let all = case.part.objects("").await.api("configmap");
    let names = all.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = names
        .items
        .into_iter()
        .filter_map(|o| o.metadata.name)
        .collect();
    assert!(names.contains(&"here".to_owned()) && !names.contains(&"elsewhere".to_owned()));
}
