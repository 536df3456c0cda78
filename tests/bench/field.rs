//! A field: fresh servers, one side's operator beside them, and the clients of the load generator.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use signalbox_tests::audit::Audit;
use signalbox_tests::bus::BusView;
use signalbox_tests::world::client_with;
use signalbox_tests::{Objects, World, WorldOptions, eventually};

use crate::contender::{Operator, Side};
use crate::eye::Eye;
use crate::peers::{Programs, RIGHTS};
use crate::usage::Snapshot;

/// The longest that anything is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);
/// The longest that the first app is waited for.
const FIRST_PATIENCE: Duration = Duration::from_mins(1);
/// How long nothing must happen until a field is quiet.
const REST: Duration = Duration::from_secs(2);
/// Share of a core above which an operator still works.
const RESTING: f64 = 0.2;
/// The app that is served before anything is measured.
pub(crate) const FIRST: usize = 99_998;

/// Who makes and changes apps.
const ADMIN: &str = "admin";

/// Servers and load generator of one contender in one scenario.
pub(crate) struct Field {
    pub(crate) side: Side,
    /// Objects of the namespace, through the load generator's client.
    pub(crate) objects: Objects,
    /// Makes needed writes as the operator's own user: an admin's cost the API server no look at rights.
    pub(crate) writer: Client,
    pub(crate) bus: BusView,
    pub(crate) audit: Audit,
    pub(crate) operator: Operator,
    pub(crate) world: World,
}

impl Field {
    /// Starts the servers and the operator, or tells why it can't run.
    pub(crate) async fn start(
        scenario: &str,
        side: Side,
        programs: &Programs,
    ) -> Result<Self, String> {
        eprintln!("{scenario}: {}", side.name());
        let name = format!("bench-{scenario}-{}", side.name());
        let world = World::start(&name, WorldOptions::default()).await;
        world.apply(RIGHTS).await;
        let namespace = world.namespace(&[]).await.namespace;
        let operator = Operator::start(side, &world, programs)?;
        let mut field = Self {
            side,
            objects: Objects::new(client(&world, ADMIN).await, &namespace),
            writer: client(&world, &side.of.writer()).await,
            bus: world.bus().await,
            audit: world.audit(),
            operator,
            world,
        };
        if !side.raw {
            field.first_app().await?;
        }
        Ok(field)
    }

    /// Waits until the operator serves: one app is made and seen to its end. It stays.
    async fn first_app(&mut self) -> Result<(), String> {
        let name = name(FIRST);
        self.create(&name).await;
        let began = Instant::now();
        loop {
            let app = self.objects.get("papp", &name).await;
            if app["status"]["observedGeneration"] == 1 {
                break;
            }
            if let Some(ended) = self.operator.ended() {
                return Err(ended);
            }
            if began.elapsed() > FIRST_PATIENCE {
                let log = self.operator.last_words();
                return Err(format!("the first app is not served: {log}"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.quiet().await;
        Ok(())
    }

    /// A watch of a kind, on a connection of its own.
    pub(crate) async fn eye(&self, kind: &str) -> Eye {
        let objects = Objects::new(client(&self.world, ADMIN).await, &self.objects.namespace);
        Eye::open(objects.api(kind)).await
    }

    /// Makes a minimal app; it, as it was stored.
    pub(crate) async fn create(&self, name: &str) -> DynamicObject {
        let app = json!({
            "apiVersion": "signalbox.dev/v1alpha1",
            "kind": "PortfolioApp",
            "metadata": { "name": name, "namespace": self.objects.namespace },
            "spec": { "image": "example/orders:1", "ports": [{ "name": "http", "port": 8080 }] },
        });
        let app = serde_json::from_value(app).expect("an app");
        let created = self.apps().create(&PostParams::default(), &app).await;
        created.expect("the app is accepted")
    }

    /// Changes the spec of an app by a merge patch; it, as it was stored.
    pub(crate) async fn change(&self, name: &str, spec: Value) -> DynamicObject {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams::default();
        let changed = self.apps().patch(name, &params, &patch).await;
        changed.expect("the change is accepted")
    }

    fn apps(&self) -> Api<DynamicObject> {
        self.objects.api("papp")
    }

    /// Waits until nothing is in flight, no request comes in and the operator rests.
    pub(crate) async fn quiet(&self) {
        let what = "no message in a work stream, no further request, an operator at rest";
        let mut mark = self.audit.mark();
        let mut before = (Instant::now(), self.operator_cpu());
        eventually(what, PATIENCE, || {
            let now = (Instant::now(), self.operator_cpu());
            let passed = (now.0 - before.0).as_secs_f64();
            let busy = (now.1 - before.1) / passed.max(f64::EPSILON);
            let end = self.audit.mark();
            let asked = end > mark && self.was_asked_since(mark);
            mark = end;
            if asked || (passed > 1.0 && busy > RESTING) {
                before = now;
            }
            let still = before.0.elapsed() > REST;
            async move {
                let open = self.bus.open().await;
                let quiet = open == 0 && still;
                quiet
                    .then_some(())
                    .ok_or_else(|| format!("{open} open, {busy:.2} busy, asked: {asked}"))
            }
        })
        .await;
    }

    /// Whether there were requests since a mark, beside those by which a leader stays one.
    fn was_asked_since(&self, mark: usize) -> bool {
        let entries = self.audit.entries_since(mark);
        entries
            .iter()
            .any(|entry| entry["objectRef"]["resource"] != "leases")
    }

    /// Processor seconds of the operator until now.
    fn operator_cpu(&self) -> f64 {
        let usage = self.usage();
        self.operator
            .names()
            .iter()
            .map(|name| usage.cpu(name))
            .sum()
    }

    /// Successful writes of the parts since a mark, counted by verb and resource.
    pub(crate) fn writes_since(&self, mark: usize) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for write in self.audit.writes_since(mark) {
            let refused = if write.code < 300 { "" } else { "refused " };
            let what = format!("{refused}{} {}", write.verb, write.resource);
            *counts.entry(what).or_default() += 1;
        }
        counts
    }

    /// What the processes used until now.
    pub(crate) fn usage(&self) -> Snapshot {
        Snapshot::take(&self.world, &self.operator.pids())
    }
}

/// Writes that the server did, of such counts.
pub(crate) fn done(writes: &HashMap<String, usize>) -> usize {
    let done = writes
        .iter()
        .filter(|(what, _)| !what.starts_with("refused"));
    done.map(|(_, count)| count).sum()
}

/// A client of its own connections, set up as the parts set up theirs.
async fn client(world: &World, user: &str) -> Client {
    let path = world.cluster.kubeconfig(user).expect("a known user");
    client_with(&path, |config| {
        config.default_retry = false;
        config.disable_compression = true;
        config.read_timeout = None;
    })
    .await
}

/// Name of the app with a number; all have the same length.
pub(crate) fn name(number: usize) -> String {
    format!("bench-app-{number:05}")
}

/// The app's name in that of its Deployment, which has more behind it where it is of a revision.
pub(crate) fn app_of(object: &str) -> &str {
    object.get(..name(0).len()).unwrap_or(object)
}
