//! Long work on real servers: claimed in a plan, done beside it, written into its own claim.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step ends the test"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_common::bus::SharedBus;
use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::class::ErrorClass;
use signalbox_common::config::CommonArgs;
use signalbox_common::digest::{of_json, sha256_hex};
use signalbox_common::id::{ObjectKey, ReconcileId, StepId};
use signalbox_common::kinds::Kind;
use signalbox_common::record;
use signalbox_common::subject::Stream;
use signalbox_common::wire::action::{
    CancelStep, ClaimStep, Effect, ResolveReferences, ResolveSource, SqlEffect,
};
use signalbox_common::wire::outcome::{ActionResult, Failure};
use signalbox_common::wire::{
    Action, Outcome, OutcomeResult, Plan, PlannedAction, SCHEMA, Verdict, decode,
};
use signalbox_crds::migration::{FileDigest, Phase};
use signalbox_crds::reference::{ResolvedReferences, SecretKey};
use signalbox_devcluster::{ClusterOptions, DevCluster, NatsOptions};
use signalbox_executor::{Args, run};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(25);
const SLEEPS: &str = "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";

struct Bench {
    cluster: DevCluster,
    planner: SharedBus,
    watcher: SharedBus,
    args: CommonArgs,
    database: Client,
    executor: Option<(CancellationToken, JoinHandle<()>)>,
    ids: AtomicU64,
}

impl Bench {
    async fn start(name: &str) -> Self {
        let options = ClusterOptions {
            nats: Some(NatsOptions::default()),
            postgres: true,
            ..ClusterOptions::bare(name)
        };
        let cluster = DevCluster::start(options).await.unwrap();
        cluster
            .apply(&signalbox_crds::yaml().unwrap())
            .await
            .unwrap();
        // Asked again: right after the apply kubectl finds no conditions to wait for.
        let served = ["get", "portfolioapps,databasemigrations"];
        until("the kinds are served", async || {
            cluster.kubectl(&served).await.is_ok()
        })
        .await;
        let url = cluster.create_database("shop").await.unwrap();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "db", "namespace": "default" }, "stringData": { "url": url },
        });
        cluster.apply(&secret.to_string()).await.unwrap();
        let (database, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let args = CommonArgs {
            nats_url: cluster.nats_url().unwrap(),
            kubeconfig: Some(cluster.kubeconfig("admin").unwrap()),
            cluster: "test".to_owned(),
            instance: "executor-1".to_owned(),
            ..CommonArgs::default()
        };
        let ensurer = JetStreamBus::with_args(&args, &Role::Ensure).await.unwrap();
        ensure(&ensurer, &EnsureArgs::default()).await.unwrap();
        let planner = JetStreamBus::connect(&args, Role::Planner).await.unwrap();
        let watcher = JetStreamBus::connect(&args, Role::Watcher).await.unwrap();
        let ids = AtomicU64::new(1);
        let mut bench = Self {
            cluster,
            planner,
            watcher,
            args,
            database,
            executor: None,
            ids,
        };
        bench.begin();
        bench
    }

    fn begin(&mut self) {
        let shutdown = CancellationToken::new();
        let key = self.cluster.dir().join("digest-key");
        std::fs::write(&key, "0123456789abcdef0123456789abcdef").unwrap();
        let args = Args {
            common: self.args.clone(),
            digest_key_files: vec![key],
            max_plans: 50,
        };
        let token = shutdown.clone();
        let running = tokio::spawn(async move { run(args, token).await.unwrap() });
        self.executor = Some((shutdown, running));
    }

    async fn end(&mut self) {
        let (shutdown, running) = self.executor.take().unwrap();
        shutdown.cancel();
        tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
    }

    async fn get(&self, resource: &str, name: &str) -> Option<Value> {
        let got = self
            .cluster
            .kubectl(&["get", resource, name, "-o", "json"])
            .await;
        got.ok().map(|text| serde_json::from_str(&text).unwrap())
    }

    /// A migration with one inline file.
    async fn migration(&self, name: &str, sql: &str) -> Value {
        let migration = json!({
            "apiVersion": "signalbox.dev/v1alpha1", "kind": "DatabaseMigration",
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "target": { "urlFrom": { "name": "db", "key": "url" }, "historySchema": name },
                "files": [{ "name": "V1__a.sql", "sql": sql }],
            },
        });
        self.cluster.apply(&migration.to_string()).await.unwrap();
        self.get("dbm", name).await.unwrap()
    }

    async fn publish(&self, object: &Value, action: Action) {
        let id = self.ids.fetch_add(1, Ordering::SeqCst);
        let kind = Kind::parse(text(object, "/kind")).unwrap();
        let planned = PlannedAction {
            key: "step".to_owned(),
            id: StepId::new(text(object, "/metadata/uid"), "step", &of_json(&action)),
            after: Vec::new(),
            guards: Vec::new(),
            action,
        };
        let plan = Plan {
            schema: SCHEMA,
            reconcile_id: ReconcileId(Uuid::from_u128(u128::from(id))),
            key: ObjectKey::new(kind, "default", text(object, "/metadata/name")),
            uid: text(object, "/metadata/uid").to_owned(),
            planner: "test".to_owned(),
            observation: "test".to_owned(),
            cause: "spec".to_owned(),
            actor: "user".to_owned(),
            trigger: None,
            rest: None,
            verdict: Verdict::Act {
                actions: vec![planned],
            },
        };
        let body = serde_json::to_vec(&plan).unwrap();
        let message =
            record::flight_message("test", Stream::Plans, &plan.key, plan.reconcile_id, body);
        self.planner.publish(message.unwrap()).await.unwrap();
    }

    async fn act(&self, object: &Value, action: Action) -> Outcome {
        self.publish(object, action).await;
        let until = Instant::now() + LIMIT;
        let outcome: Outcome = loop {
            assert!(Instant::now() < until, "no outcome");
            let fetched = self
                .watcher
                .fetch(Stream::Outcomes, 1, Duration::from_secs(2))
                .await;
            if let Some(delivery) = fetched.unwrap().pop() {
                delivery.acker.ack().await.unwrap();
                break decode(&delivery.body).unwrap();
            }
        };
        while self.watcher.state(Stream::Plans).await.unwrap().messages > 0 {
            assert!(Instant::now() < until, "the plan is not acknowledged");
        }
        outcome
    }

    async fn number(&self, sql: &str) -> i64 {
        self.database.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn tables(&self, name: &str) -> i64 {
        self.number(&format!(
            "select count(*) from pg_tables where tablename = '{name}'"
        ))
        .await
    }

    /// The claim, once it has a result.
    async fn result(&self, name: &str) -> Value {
        let begun = Instant::now();
        loop {
            let live = self.get("dbm", name).await.unwrap();
            let claim = live
                .pointer("/status/claims/migrate-1")
                .cloned()
                .unwrap_or_default();
            if claim.get("finishedAt").is_some() {
                return claim;
            }
            assert!(begun.elapsed() < LIMIT, "no result: {claim}");
        }
    }

    async fn gone(&self, lease: &str) {
        until("the Lease is gone", async || {
            self.get("lease", lease).await.is_none()
        })
        .await;
    }

    async fn sleeping(&self) {
        until("the statement sleeps", async || {
            self.number(SLEEPS).await > 0
        })
        .await;
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < LIMIT, "never: {what}");
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn claim(seen: &Value, sql: &str, attempt: u32) -> Action {
    let name = text(seen, "/metadata/name");
    Action::ClaimStep(ClaimStep {
        step: "migrate-1".to_owned(),
        attempt,
        lease: format!("sb-{name}-{attempt}"),
        resource_version: text(seen, "/metadata/resourceVersion").to_owned(),
        effect: Effect::Sql(SqlEffect {
            url_from: SecretKey {
                name: "db".to_owned(),
                key: "url".to_owned(),
            },
            history_schema: name.to_owned(),
            file: FileDigest {
                name: "V1__a.sql".to_owned(),
                size: i64::try_from(sql.len()).unwrap(),
                sha256: sha256_hex(sql.as_bytes()),
            },
            version: "1".to_owned(),
            phase: Phase::Expand,
            config_map: None,
            lock_seconds: 1,
            statement_seconds: 60,
            history_lock_seconds: 5,
        }),
    })
}

fn runs(outcome: &Outcome) {
    assert_eq!(outcome.result, OutcomeResult::Done, "{outcome:?}");
    assert_eq!(
        outcome.actions.first().unwrap().result,
        ActionResult::Running
    );
    assert_eq!(outcome.written.first().unwrap().kind, "DatabaseMigration");
}

fn failure(outcome: &Outcome) -> &Failure {
    let OutcomeResult::Failed(failure) = &outcome.result else {
        panic!("{outcome:?}")
    };
    failure
}

#[tokio::test(flavor = "multi_thread")]
async fn long_work_is_claimed_and_ends_in_its_own_claim() {
    let mut bench = Bench::start("claims").await;
    a_file_is_applied_beside_the_plan(&bench).await;
    a_refused_claim_leaves_nothing(&bench).await;
    what_is_missing_or_changed_is_told_before_any_write(&bench).await;
    a_foreign_lease_is_a_conflict(&bench).await;
    the_next_attempt_clears_what_the_last_one_left(&bench).await;
    a_cancelled_step_leaves_nothing(&bench).await;
    a_lost_lease_cancels(&bench).await;
    references_are_kept_as_digests(&bench).await;
    a_source_is_kept_as_digests(&bench).await;
    an_ending_executor_waits_for_its_work(&mut bench).await;
    bench.cluster.stop().await.unwrap();
}

async fn a_file_is_applied_beside_the_plan(bench: &Bench) {
    let sql = "create table plain (x int); select pg_sleep(1.5)";
    let seen = bench.migration("plain", sql).await;
    runs(&bench.act(&seen, claim(&seen, sql, 1)).await);
    let lease = bench.get("lease", "sb-plain-1").await.unwrap();
    assert_eq!(text(&lease, "/spec/holderIdentity"), "executor-1");
    assert_eq!(
        lease["metadata"]["labels"]["signalbox.dev/step"],
        "migrate-1"
    );
    assert_eq!(
        text(&lease, "/metadata/ownerReferences/0/uid"),
        text(&seen, "/metadata/uid")
    );
    // Somebody else's write must not keep the result from being written.
    bench
        .cluster
        .kubectl(&["annotate", "dbm", "plain", "a=b"])
        .await
        .unwrap();
    let result = bench.result("plain").await;
    assert_eq!(result["state"], "Succeeded", "{result}");
    assert!(result["effectMs"].as_i64().unwrap() >= 1500, "{result}");
    assert_eq!(bench.tables("plain").await, 1);
    bench.gone("sb-plain-1").await;
}

async fn a_refused_claim_leaves_nothing(bench: &Bench) {
    let sql = "create table refused (x int)";
    let seen = bench.migration("refused", sql).await;
    bench
        .cluster
        .kubectl(&["annotate", "dbm", "refused", "a=b"])
        .await
        .unwrap();
    let outcome = bench.act(&seen, claim(&seen, sql, 1)).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert!(outcome.live.is_some(), "{outcome:?}");
    bench.gone("sb-refused-1").await;
    assert_eq!(bench.tables("refused").await, 0);
}

async fn what_is_missing_or_changed_is_told_before_any_write(bench: &Bench) {
    let sql = "create table missing (x int)";
    let seen = bench.migration("missing", sql).await;
    let changed = bench.act(&seen, claim(&seen, "select 2", 1)).await;
    assert_eq!(failure(&changed).class, ErrorClass::Conflict);
    assert!(
        failure(&changed).message.contains("content changed"),
        "{changed:?}"
    );
    for (name, key, told) in [
        ("no", "url", "Secret no"),
        ("db", "no", "Secret db has no key no"),
    ] {
        let Action::ClaimStep(mut step) = claim(&seen, sql, 1) else {
            unreachable!()
        };
        let Effect::Sql(effect) = &mut step.effect;
        effect.url_from = SecretKey {
            name: name.to_owned(),
            key: key.to_owned(),
        };
        let outcome = bench.act(&seen, Action::ClaimStep(step)).await;
        assert_eq!(failure(&outcome).class, ErrorClass::Missing);
        assert!(failure(&outcome).message.contains(told), "{outcome:?}");
    }
    assert!(bench.get("lease", "sb-missing-1").await.is_none());
}

async fn a_foreign_lease_is_a_conflict(bench: &Bench) {
    let sql = "select 1";
    let seen = bench.migration("foreign", sql).await;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "sb-foreign-1", "namespace": "default" },
        "spec": { "holderIdentity": "executor-2" },
    });
    bench.cluster.apply(&lease.to_string()).await.unwrap();
    let outcome = bench.act(&seen, claim(&seen, sql, 1)).await;
    assert_eq!(failure(&outcome).class, ErrorClass::Conflict);
    assert!(
        failure(&outcome).message.contains("executor-2"),
        "{outcome:?}"
    );
    assert!(
        bench
            .get("dbm", "foreign")
            .await
            .unwrap()
            .pointer("/status/claims/migrate-1")
            .is_none()
    );
}

async fn the_next_attempt_clears_what_the_last_one_left(bench: &Bench) {
    let seen = bench.migration("again", "select nonsense").await;
    runs(&bench.act(&seen, claim(&seen, "select nonsense", 1)).await);
    let failed = bench.result("again").await;
    assert_eq!(failed["state"], "Failed", "{failed}");
    assert_eq!(failed["class"], "Invalid");
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("V1__a.sql, statement 1"),
        "{failed}"
    );
    bench.gone("sb-again-1").await;
    let seen = bench.migration("again", "select 1").await;
    runs(&bench.act(&seen, claim(&seen, "select 1", 2)).await);
    let done = bench.result("again").await;
    assert_eq!(done["state"], "Succeeded", "{done}");
    assert!(
        done.get("class").is_none() && done.get("message").is_none(),
        "{done}"
    );
    assert_eq!(bench.number("select count(*) from again.attempts").await, 1);
}

async fn a_cancelled_step_leaves_nothing(bench: &Bench) {
    let sql = "create table cancelled (x int); select pg_sleep(60)";
    let seen = bench.migration("cancelled", sql).await;
    runs(&bench.act(&seen, claim(&seen, sql, 1)).await);
    bench.sleeping().await;
    let lease = bench.get("lease", "sb-cancelled-1").await.unwrap();
    let cancel = CancelStep {
        step: "migrate-1".to_owned(),
        lease: "sb-cancelled-1".to_owned(),
        lease_uid: text(&lease, "/metadata/uid").to_owned(),
    };
    let outcome = bench.act(&seen, Action::CancelStep(cancel.clone())).await;
    assert_eq!(
        outcome.actions.first().unwrap().result,
        ActionResult::Done,
        "{outcome:?}"
    );
    let result = bench.result("cancelled").await;
    assert_eq!(result["state"], "Cancelled", "{result}");
    assert_eq!(bench.tables("cancelled").await, 0);
    let again = bench.act(&seen, Action::CancelStep(cancel)).await;
    assert_eq!(
        again.actions.first().unwrap().result,
        ActionResult::FoundDone
    );
    until("no statement sleeps", async || {
        bench.number(SLEEPS).await == 0
    })
    .await;
}

async fn a_lost_lease_cancels(bench: &Bench) {
    let sql = "create table lost (x int); select pg_sleep(60)";
    let seen = bench.migration("lost", sql).await;
    runs(&bench.act(&seen, claim(&seen, sql, 1)).await);
    bench.sleeping().await;
    bench
        .cluster
        .kubectl(&["delete", "lease", "sb-lost-1"])
        .await
        .unwrap();
    let result = bench.result("lost").await;
    assert_eq!(result["state"], "Cancelled", "{result}");
    assert_eq!(bench.tables("lost").await, 0);
    until("no statement sleeps", async || {
        bench.number(SLEEPS).await == 0
    })
    .await;
}

async fn references_are_kept_as_digests(bench: &Bench) {
    let app = json!({
        "apiVersion": "signalbox.dev/v1alpha1", "kind": "PortfolioApp",
        "metadata": { "name": "web", "namespace": "default" }, "spec": { "image": "example.com/web:1" },
    });
    bench.cluster.apply(&app.to_string()).await.unwrap();
    let secret = |value: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "default" },
            "stringData": { "token": value } })
    };
    let resolve = async |secrets: &[&str]| {
        let seen = bench.get("papp", "web").await.unwrap();
        let before = seen.pointer("/status/references").cloned();
        let action = Action::ResolveReferences(ResolveReferences {
            resource_version: text(&seen, "/metadata/resourceVersion").to_owned(),
            seen: of_json(&seen.get("status").cloned().unwrap_or_default()),
            for_inputs: "inputs".to_owned(),
            secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
            before: before.map(|value| serde_json::from_value(value).unwrap()),
        });
        bench.act(&seen, action).await
    };
    let kept = async || {
        let live = bench.get("papp", "web").await.unwrap();
        let kept = live.pointer("/status/references").cloned().unwrap();
        assert!(!kept.to_string().contains("hunter2"), "{kept}");
        serde_json::from_value::<ResolvedReferences>(kept).unwrap()
    };
    let missing = resolve(&["nowhere", "s"]).await;
    assert_eq!(failure(&missing).class, ErrorClass::Missing);
    assert_eq!(failure(&missing).message, "missing Secrets: nowhere, s");
    bench
        .cluster
        .apply(&secret("hunter2").to_string())
        .await
        .unwrap();
    assert_eq!(resolve(&["s"]).await.result, OutcomeResult::Done);
    let first = kept().await;
    assert_eq!((first.epoch, first.secrets.len()), (1, 1));
    let same = resolve(&["s"]).await;
    assert_eq!(
        same.actions.first().unwrap().result,
        ActionResult::FoundDone,
        "{same:?}"
    );
    bench
        .cluster
        .apply(&secret("hunter2-new").to_string())
        .await
        .unwrap();
    resolve(&["s"]).await;
    let second = kept().await;
    assert_eq!(second.epoch, 2);
    assert_ne!(second.secrets, first.secrets);
}

async fn a_source_is_kept_as_digests(bench: &Bench) {
    let seen = bench.migration("source", "select 1").await;
    let action = |name: &str| {
        Action::ResolveSource(ResolveSource {
            resource_version: text(&seen, "/metadata/resourceVersion").to_owned(),
            seen: of_json(&seen.get("status").cloned().unwrap_or_default()),
            config_map: name.to_owned(),
            for_generation: 1,
            files: vec!["V2__b.sql".to_owned(), "V3__c.sql".to_owned()],
        })
    };
    let missing = bench.act(&seen, action("files")).await;
    assert_eq!(failure(&missing).class, ErrorClass::Missing);
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "files", "namespace": "default" }, "data": { "V2__b.sql": "select 2" } });
    bench.cluster.apply(&map.to_string()).await.unwrap();
    assert_eq!(
        bench.act(&seen, action("files")).await.result,
        OutcomeResult::Done
    );
    let live = bench.get("dbm", "source").await.unwrap();
    let files = live.pointer("/status/source/files").unwrap();
    let wanted = json!([{ "name": "V2__b.sql", "size": 8, "sha256": sha256_hex(b"select 2") }]);
    assert_eq!(*files, wanted);
}

async fn an_ending_executor_waits_for_its_work(bench: &mut Bench) {
    let sql = "create table ending (x int); select pg_sleep(2)";
    let seen = bench.migration("ending", sql).await;
    runs(&bench.act(&seen, claim(&seen, sql, 1)).await);
    bench.sleeping().await;
    bench.end().await;
    let result = bench.result("ending").await;
    assert_eq!(result["state"], "Succeeded", "{result}");
    assert_eq!(bench.tables("ending").await, 1);
    assert!(bench.get("lease", "sb-ending-1").await.is_none());
    let start = "sb.ledger.test.start.DatabaseMigration.default.ending";
    let entries = bench.watcher.subjects(Stream::Ledger).await.unwrap();
    assert!(entries.contains_key(start), "{entries:?}");
    assert!(
        entries.contains_key(&start.replace("start", "result")),
        "{entries:?}"
    );
}

/// The executor's process ends at each of its places; the next attempt finds out what is left to do.
#[cfg(feature = "crash-points")]
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_executor_applies_nothing_twice() {
    let mut bench = Bench::start("crash").await;
    for (point, found) in [
        ("lease", false),
        ("claim", false),
        ("commit-before", false),
        ("commit-after", true),
    ] {
        bench.end().await;
        let name = format!("at{}", point.replace('-', ""));
        let sql = format!("create table {name} (x int)");
        let seen = bench.migration(&name, &sql).await;
        let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_signalbox-executor"))
            .env("SIGNALBOX_CRASH_AT", point)
            .env("SIGNALBOX_NATS_URL", &bench.args.nats_url)
            .env("SIGNALBOX_CLUSTER", "test")
            .env("SIGNALBOX_INSTANCE", "executor-0")
            .env("KUBECONFIG", bench.args.kubeconfig.as_ref().unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        bench.publish(&seen, claim(&seen, &sql, 1)).await;
        until("the process ends", async || {
            process.try_wait().unwrap().is_some()
        })
        .await;
        bench.begin();
        // What the dead one did not report is delivered again, and not executed.
        until("the plan is over", async || {
            let old = bench
                .watcher
                .fetch(Stream::Outcomes, 1, Duration::from_millis(200))
                .await;
            for delivery in old.unwrap() {
                delivery.acker.ack().await.unwrap();
            }
            bench.watcher.state(Stream::Plans).await.unwrap().messages == 0
                && bench
                    .watcher
                    .state(Stream::Outcomes)
                    .await
                    .unwrap()
                    .messages
                    == 0
        })
        .await;
        let left = bench.get("dbm", &name).await.unwrap();
        let state = left
            .pointer("/status/claims/migrate-1/state")
            .and_then(Value::as_str);
        assert_eq!(state, (point != "lease").then_some("Running"), "{point}");
        assert_eq!(bench.tables(&name).await, i64::from(found), "{point}");
        runs(&bench.act(&left, claim(&left, &sql, 2)).await);
        let result = bench.result(&name).await;
        assert_eq!(result["state"], "Succeeded", "{point}: {result}");
        assert_eq!(result["foundDone"], found, "{point}: {result}");
        assert_eq!(bench.tables(&name).await, 1);
        let rows = format!("select count(*) from {name}.history where state = 'applied'");
        assert_eq!(bench.number(&rows).await, 1, "{point}");
    }
    bench.end().await;
    bench.cluster.stop().await.unwrap();
}
