//! An autoscaler that scales all through a canary and all through a rollback: what each side keeps meanwhile.
//!
//! The scale subresource is written as a `HorizontalPodAutoscaler` does it; pods are counted on a watch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::api::{PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use signalbox_tests::figures::figure;
use signalbox_tests::objects::{condition, stable};
use signalbox_tests::{Objects, eventually};
use tokio::task::JoinHandle;

use crate::{PATIENCE, world};

/// Sizes that are asked for, one after the other and round again.
const SIZES: [i32; 6] = [6, 10, 4, 8, 12, 5];
/// How long each is asked for.
const EACH: Duration = Duration::from_secs(2);
/// A size is no floor any more, and no ceiling, when it was asked for longer ago than this.
const LAG: Duration = Duration::from_secs(20);
const LINES: &str = "  replicas: 6
  autoscaling: { minReplicas: 2, maxReplicas: 12 }
  rollout:
    steps: [{ weight: 25, pauseSeconds: 3 }, { weight: 50, pauseSeconds: 3 }]
    drainSeconds: 1
    progressDeadlineSeconds: 30";

/// Sizes that were asked for, and since when.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<VecDeque<(Instant, i32)>>>);

impl Asked {
    fn note(&self, size: i32) {
        self.0.lock().unwrap().push_back((Instant::now(), size));
    }

    /// The smallest and the largest that were asked for within the lag.
    fn range(&self) -> (i32, i32) {
        let asked = self.0.lock().unwrap();
        let old = |(at, _): &&(Instant, i32)| at.elapsed() > LAG;
        // The one that was asked for when the lag began counts too.
        let skipped = asked.iter().take_while(old).count().saturating_sub(1);
        let sizes = asked.iter().skip(skipped).map(|(_, size)| *size);
        (sizes.clone().min().unwrap(), sizes.max().unwrap())
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Asks for one size after the other until it is aborted.
fn autoscaler(objects: Objects, asked: Asked) -> JoinHandle<()> {
    tokio::spawn(async move {
        for size in SIZES.into_iter().cycle() {
            scale(&objects, &asked, size).await;
            tokio::time::sleep(EACH).await;
        }
    })
}

/// PUT of the scale subresource, read anew while somebody else is faster.
async fn scale(objects: &Objects, asked: &Asked, size: i32) {
    let apps = objects.api("papp");
    // A smaller one is a floor before anybody can act on it, a larger one a ceiling.
    asked.note(size);
    loop {
        let mut scale = apps.get_scale("orders").await.unwrap();
        scale.spec.as_mut().unwrap().replicas = Some(size);
        match apps
            .replace_scale("orders", &PostParams::default(), &scale)
            .await
        {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => drop(other.unwrap()),
        }
    }
}

fn serves(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_null() && condition(pod, "Ready") == Some("True")
}

/// The smallest share of what was asked for that served at any event of the watch; below 1 is a lack.
fn count_pods(objects: &Objects, asked: Asked) -> (JoinHandle<()>, Arc<Mutex<(f64, usize)>>) {
    let least = Arc::new(Mutex::new((f64::MAX, 0)));
    let (pods, kept) = (objects.api("pod"), Arc::clone(&least));
    let task = tokio::spawn(async move {
        let mut serving = BTreeMap::new();
        let params = WatchParams::default().timeout(290);
        let mut events = pods.watch(&params, "0").await.unwrap().boxed();
        let mut filled = false;
        while let Some(event) = events.next().await {
            let (pod, there) = match event.unwrap() {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, true),
                WatchEvent::Deleted(pod) => (pod, false),
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
            };
            let pod = serde_json::to_value(pod).unwrap();
            let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
            serving.insert(name, there && serves(&pod));
            let count = serving.values().filter(|serves| **serves).count();
            let (floor, _) = asked.range();
            let floor = usize::try_from(floor).unwrap();
            // The first events only tell what there is.
            filled |= count >= floor;
            if filled {
                #[expect(clippy::cast_precision_loss, reason = "a few pods")]
                let share = count as f64 / floor as f64;
                let mut kept = kept.lock().unwrap();
                *kept = (kept.0.min(share), kept.1 + 1);
            }
        }
    });
    (task, least)
}

/// Pods of the newest revision that its Deployment asks for, if it has one beside the stable one's.
async fn canary(objects: &Objects, app: &Value) -> Option<i64> {
    let revision = app["status"]["rollout"]["revision"].as_str()?;
    let name = format!("orders-{revision}");
    let deployment = objects.find("deployment", &name).await?;
    deployment["spec"]["replicas"].as_i64()
}

fn pods_at(size: i32, weight: i64) -> i64 {
    ((i64::from(size) * weight + 99) / 100).max(1)
}

/// Follows a rollout until it is in the state, and checks the canary's share all along.
async fn follow(objects: &Objects, asked: &Asked, state: &str, image: &str) -> Value {
    let before = stable(&objects.get("papp", "orders").await);
    objects.image("orders", image).await;
    let weights = Mutex::new(VecDeque::from([(Instant::now(), 0)]));
    eventually(&format!("{image} is {state}"), PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        let rollout = &app["status"]["rollout"];
        let weight = rollout["weight"].as_i64().unwrap_or(0);
        let under_way = rollout["state"] == "Progressing" && rollout["revision"] != before.as_str();
        if under_way {
            let share = canary(objects, &app).await.unwrap_or(0);
            // Meanwhile it may have gone a step further.
            let now = objects.get("papp", "orders").await;
            let now = now["status"]["rollout"]["weight"].as_i64().unwrap_or(0);
            let weight = weight.max(now);
            let mut weights = weights.lock().unwrap();
            weights.push_back((Instant::now(), weight));
            let recent = weights.iter().filter(|(at, _)| at.elapsed() <= LAG);
            let most = recent.map(|(_, weight)| *weight).max().unwrap();
            let (_, ceiling) = asked.range();
            let (share, most) = (share, pods_at(ceiling, most));
            assert!(
                share <= most,
                "{share} canary pods, at most {most}: {rollout}"
            );
        }
        let ended = rollout["state"] == state && rollout["revision"] != before.as_str();
        if ended {
            Ok(app)
        } else {
            Err(rollout.to_string())
        }
    })
    .await
}

/// What an autoscaler may never see changed.
fn own(hpa: &Value) -> Value {
    json!([
        hpa["metadata"]["uid"],
        hpa["metadata"]["labels"],
        hpa["spec"]
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_scales_all_through_a_canary_and_a_rollback() {
    let world = world("steady-scaled").await;
    let _parts = world.parts();
    let objects = world.namespace(&[]).await;
    let first = world.ready_app(&objects, LINES).await;
    let hpa = own(&objects.get("hpa", "orders").await);
    let (asked, mark) = (Asked::default(), world.audit().mark());
    asked.note(6);
    let (watching, least) = count_pods(&objects, asked.clone());
    let scaling = autoscaler(objects.clone(), asked.clone());

    let app = follow(&objects, &asked, "Completed", "example/orders:2").await;
    let second = stable(&app);
    assert_ne!(second, stable(&first), "{}", app["status"]);
    let lines = json!({"spec": {"rollout": {"progressDeadlineSeconds": 8}}});
    objects.patch("papp", "orders", lines).await;
    let app = follow(&objects, &asked, "RolledBack", "example/orders:3-broken").await;
    assert_eq!(stable(&app), second, "{}", app["status"]);

    scaling.abort();
    // Whatever it was about to ask for.
    drop(scaling.await);
    scale(&objects, &asked, 7).await;
    eventually("seven pods of the good revision", PATIENCE, || async {
        let app = objects.get("papp", "orders").await;
        let pods = objects.list("pod").await;
        let asks: BTreeMap<String, i64> = objects
            .list("deployment")
            .await
            .iter()
            .map(|one| {
                let name = one["metadata"]["name"].as_str().unwrap().to_owned();
                (name, one["spec"]["replicas"].as_i64().unwrap())
            })
            .filter(|(_, replicas)| *replicas > 0)
            .collect();
        let exact = BTreeMap::from([(format!("orders-{second}"), 7)]);
        let current = app["status"]["observedGeneration"] == app["metadata"]["generation"];
        if asks == exact && pods.len() == 7 && pods.iter().all(serves) && current {
            Ok(())
        } else {
            Err(format!("{asks:?}, {} pods, {}", pods.len(), app["status"]))
        }
    })
    .await;
    watching.abort();
    let (least, events) = *least.lock().unwrap();
    figure("autoscaled-canary-least-capacity", least, "share");
    figure("autoscaled-canary-sizes", asked.count(), "writes");
    assert!(events > 40, "{events} events were counted");
    assert!(least >= 1.0, "{least} of what was asked for served");
    assert_eq!(own(&objects.get("hpa", "orders").await), hpa);
    let writes = world.audit().done_in(mark, &objects.namespace);
    let touched = writes.iter().find(|write| write.contains("autoscalers"));
    assert!(touched.is_none(), "{touched:?}");
}
