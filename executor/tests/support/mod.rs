//! An executor with a real API server and a real bus, under its own identities; plans go in,
//! Outcomes come out.
#![allow(dead_code, reason = "each suite uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_common::bus::SharedBus;
use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::{Role, new_identity, server_config};
use signalbox_common::config::CommonArgs;
use signalbox_common::digest;
use signalbox_common::id::{ObjectKey, ReconcileId, StepId};
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::record;
use signalbox_common::rights::{Component, rbac_yaml};
use signalbox_common::subject::{self, Stream};
use signalbox_common::wire::action::{ApplyChild, ApplyMode, DeleteChild, PatchStatus, Scale};
use signalbox_common::wire::live::LiveObject;
use signalbox_common::wire::outcome::{ActionResult, Failure};
use signalbox_common::wire::plan::Rest;
use signalbox_common::wire::trim::trim;
use signalbox_common::wire::{
    Action, Outcome, OutcomeResult, Plan, PlannedAction, SCHEMA, Verdict, decode,
};
use signalbox_devcluster::{ClusterOptions, DevCluster, Identity, NatsOptions};
use signalbox_executor::{Args, run};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);
/// A user without any right.
pub(crate) const NOBODY: &str = "nobody";
/// The parts' identities on the bus.
const ROLES: [Role; 5] = Role::OWN;

pub(crate) struct Bench {
    pub(crate) cluster: DevCluster,
    pub(crate) planner: SharedBus,
    pub(crate) watcher: SharedBus,
    pub(crate) reader: SharedBus,
    ensurer: Arc<JetStreamBus>,
    pub(crate) args: CommonArgs,
    executor: Option<(CancellationToken, JoinHandle<()>)>,
    ids: AtomicU64,
}

impl Bench {
    /// Starts servers and an executor under its own service account.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_as(name, &Component::Executor.user(), |_| {}).await
    }

    /// The same as another user, and with other arguments.
    pub(crate) async fn start_as(
        name: &str,
        user: &str,
        change: impl FnOnce(&mut CommonArgs),
    ) -> Self {
        let seeds: BTreeMap<Role, (String, String)> = ROLES
            .into_iter()
            .map(|role| (role, new_identity().unwrap()))
            .collect();
        let users: Vec<(Role, String)> = seeds
            .iter()
            .map(|(role, (_, public))| (role.clone(), public.clone()))
            .collect();
        let identity = |user: &str| Identity {
            user: user.to_owned(),
            groups: Vec::new(),
        };
        let options = ClusterOptions {
            nats: Some(NatsOptions {
                config: server_config(&users),
            }),
            identities: vec![identity(NOBODY), identity(&Component::Executor.user())],
            ..ClusterOptions::bare(name)
        };
        let cluster = DevCluster::start(options).await.unwrap();
        cluster
            .apply(&signalbox_crds::yaml().unwrap())
            .await
            .unwrap();
        cluster.apply(&rbac_yaml()).await.unwrap();
        let names = [
            "crd/portfolioapps.signalbox.dev",
            "crd/databasemigrations.signalbox.dev",
        ];
        let wait = ["wait", "--for=condition=Established", "--timeout=20s"];
        cluster
            .kubectl(&[&wait[..], &names[..]].concat())
            .await
            .unwrap();
        for (role, (seed, _)) in &seeds {
            std::fs::write(cluster.dir().join(role.label()), seed).unwrap();
        }
        let mut args = CommonArgs {
            nats_url: cluster.nats_url().unwrap(),
            nkey_file: Some(cluster.dir().join(Role::Executor.label())),
            kubeconfig: Some(cluster.kubeconfig(user).unwrap()),
            cluster: "test".to_owned(),
            instance: "executor-1".to_owned(),
            ..CommonArgs::default()
        };
        change(&mut args);
        let as_role = |role: &Role| CommonArgs {
            nkey_file: Some(cluster.dir().join(role.label())),
            ..args.clone()
        };
        let ensurer = JetStreamBus::with_args(&as_role(&Role::Ensure), &Role::Ensure)
            .await
            .unwrap();
        ensure(&ensurer, &EnsureArgs::default()).await.unwrap();
        let planner = JetStreamBus::connect(&as_role(&Role::Planner), Role::Planner)
            .await
            .unwrap();
        let watcher = JetStreamBus::connect(&as_role(&Role::Watcher), Role::Watcher)
            .await
            .unwrap();
        let reader = JetStreamBus::connect(&as_role(&Role::Reader), Role::Reader)
            .await
            .unwrap();
        let ids = AtomicU64::new(1);
        let mut bench = Self {
            cluster,
            planner,
            watcher,
            reader,
            ensurer,
            args,
            executor: None,
            ids,
        };
        bench.begin();
        bench
    }

    /// Makes the streams that a server forgot which was started again.
    pub(crate) async fn ensure_bus(&self) {
        ensure(&self.ensurer, &EnsureArgs::default()).await.unwrap();
    }

    /// Starts the executor.
    pub(crate) fn begin(&mut self) {
        let shutdown = CancellationToken::new();
        let args = Args {
            common: self.args.clone(),
            digest_key_files: Vec::new(),
            max_plans: 50,
        };
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { run(args, shutdown).await.unwrap() }
        });
        self.executor = Some((shutdown, running));
    }

    /// Ends the executor, which must end by itself.
    pub(crate) async fn end(&mut self) {
        if let Some((shutdown, running)) = self.executor.take() {
            shutdown.cancel();
            tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
        }
    }

    /// What the API server has; none: nothing.
    pub(crate) async fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let got = self
            .cluster
            .kubectl(&["get", resource, name, "-o", "json"])
            .await;
        got.ok().map(|text| serde_json::from_str(&text).unwrap())
    }

    /// What the API server has, which must be there.
    pub(crate) async fn live(&self, resource: &str, name: &str) -> Value {
        self.get(resource, name)
            .await
            .unwrap_or_else(|| panic!("there is no {resource} {name}"))
    }

    /// Makes a `PortfolioApp` and returns it.
    pub(crate) async fn app(&self, name: &str) -> Value {
        let app = json!({
            "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"image": "example.com/web:1"},
        });
        self.cluster.apply(&app.to_string()).await.unwrap();
        self.live("portfolioapp", name).await
    }

    /// A plan for an app.
    pub(crate) fn plan(&self, app: &Value, actions: Vec<PlannedAction>) -> Plan {
        let id = self.ids.fetch_add(1, Ordering::SeqCst);
        Plan {
            schema: SCHEMA,
            reconcile_id: ReconcileId(Uuid::from_u128(u128::from(id))),
            key: key(app),
            uid: text(app, "/metadata/uid"),
            planner: "test".to_owned(),
            observation: "test".to_owned(),
            cause: "spec".to_owned(),
            actor: "user".to_owned(),
            trigger: Some("trigger-7".to_owned()),
            verdict: Verdict::Act { actions },
            rest: None,
        }
    }

    pub(crate) async fn publish(&self, plan: &Plan) {
        let body = serde_json::to_vec(plan).unwrap();
        let message =
            record::flight_message("test", Stream::Plans, &plan.key, plan.reconcile_id, body);
        self.planner.publish(message.unwrap()).await.unwrap();
    }

    /// The next Outcome.
    pub(crate) async fn outcome(&self) -> Outcome {
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            let fetched = self
                .watcher
                .fetch(Stream::Outcomes, 1, Duration::from_secs(2))
                .await;
            if let Some(delivery) = fetched.unwrap().pop() {
                delivery.acker.ack().await.unwrap();
                return decode(&delivery.body).unwrap();
            }
        }
        panic!("no outcome in {LIMIT:?}");
    }

    /// Runs actions for an app; its Outcome, after the plan is acknowledged. Nothing is foreseen to be done behind it.
    pub(crate) async fn run(&self, app: &Value, actions: Vec<PlannedAction>) -> Outcome {
        let plan = Plan {
            rest: Some(Rest { until: None }),
            ..self.plan(app, actions)
        };
        self.publish(&plan).await;
        let outcome = self.outcome().await;
        assert_eq!(outcome.reconcile_id, plan.reconcile_id);
        self.no_plans().await;
        outcome
    }

    /// Waits until PLANS is empty.
    pub(crate) async fn no_plans(&self) {
        let until = Instant::now() + LIMIT;
        while self.watcher.state(Stream::Plans).await.unwrap().messages > 0 {
            assert!(Instant::now() < until, "a plan is still there");
        }
    }
}

pub(crate) fn text(object: &Value, pointer: &str) -> String {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

pub(crate) fn uid(object: &Value) -> String {
    text(object, "/metadata/uid")
}

pub(crate) fn version(object: &Value) -> String {
    text(object, "/metadata/resourceVersion")
}

pub(crate) fn key(app: &Value) -> ObjectKey {
    ObjectKey::new(Kind::PortfolioApp, "default", text(app, "/metadata/name"))
}

pub(crate) fn trimmed(object: &Value) -> LiveObject {
    trim(object.clone()).unwrap()
}

/// An action that waits for nothing.
pub(crate) fn action(name: &str, action: Action) -> PlannedAction {
    let id = StepId::new("uid", name, "1");
    PlannedAction {
        key: name.to_owned(),
        id,
        after: Vec::new(),
        guards: Vec::new(),
        action,
    }
}

/// The configuration of a child of an app.
pub(crate) fn configured(app: &Value, kind: ChildKind, name: &str, rest: &Value) -> Value {
    let mut object = json!({
        "apiVersion": kind.api_version(), "kind": kind.as_str(),
        "metadata": {
            "name": name,
            "labels": {"signalbox.dev/owner": text(app, "/metadata/name")},
            "ownerReferences": [{
                "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
                "name": text(app, "/metadata/name"), "uid": uid(app), "controller": true,
            }],
        },
    });
    let fields = object.as_object_mut().unwrap();
    fields.extend(rest.as_object().unwrap().clone());
    object
}

/// A Deployment of an app, without pods.
pub(crate) fn deployment(app: &Value, name: &str) -> Value {
    let labels = json!({"app": "web"});
    let spec = json!({
        "replicas": 0, "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "example.com/web:1"}]},
        },
    });
    configured(app, ChildKind::Deployment, name, &json!({"spec": spec}))
}

/// Deletion of a child as it was seen.
pub(crate) fn delete(kind: ChildKind, seen: &Value) -> PlannedAction {
    let child = DeleteChild {
        kind,
        name: text(seen, "/metadata/name"),
        uid: uid(seen),
        resource_version: version(seen),
        seen: Some(trimmed(seen).basis()),
    };
    action("delete", Action::DeleteChild(child))
}

/// Scaling of a Deployment as it was seen.
pub(crate) fn scale(seen: &Value, from: i32, to: i32) -> PlannedAction {
    let scale = Scale {
        name: text(seen, "/metadata/name"),
        uid: uid(seen),
        resource_version: version(seen),
        from,
        to,
    };
    action("scale", Action::Scale(scale))
}

pub(crate) fn apply(kind: ChildKind, object: Value, mode: ApplyMode) -> PlannedAction {
    let name = text(&object, "/metadata/name");
    let child = ApplyChild {
        kind,
        name: name.clone(),
        mode,
        object,
    };
    action(&format!("apply/{kind}/{name}"), Action::ApplyChild(child))
}

/// Apply, with what the planner saw.
pub(crate) fn mode_apply(seen: &Value) -> ApplyMode {
    let basis = Some(trimmed(seen).basis());
    ApplyMode::Apply {
        uid: uid(seen),
        resource_version: version(seen),
        seen: basis,
    }
}

/// Replace, with what the planner saw.
pub(crate) fn mode_replace(seen: &Value) -> ApplyMode {
    let basis = Some(trimmed(seen).basis());
    ApplyMode::Replace {
        uid: uid(seen),
        resource_version: version(seen),
        seen: basis,
    }
}

pub(crate) fn patch_status(seen: &Value, status: Value) -> PlannedAction {
    let patch = PatchStatus {
        resource_version: version(seen),
        seen: digest::of_json(&seen["status"]),
        status,
    };
    action("status", Action::PatchStatus(patch))
}

/// The one action's result, in a plan that is done.
pub(crate) fn done(outcome: &Outcome) -> Vec<ActionResult> {
    assert_eq!(outcome.result, OutcomeResult::Done, "{outcome:?}");
    outcome.actions.iter().map(|report| report.result).collect()
}

/// The failure of a plan.
pub(crate) fn failure(outcome: &Outcome) -> &Failure {
    let OutcomeResult::Failed(failure) = &outcome.result else {
        panic!("not failed: {outcome:?}")
    };
    failure
}

pub(crate) fn plan_subject(app: &Value) -> String {
    subject::plan("test", &key(app))
}
