//! What the demo looks at, from outside: the API server, the database, the bus.
//!
//! Never takes the parts' word for what can be seen in the real thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use signalbox_common::bus::rights::Role;
use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::Kind;
use signalbox_common::record::{Attributes, headers};
use signalbox_common::subject;
use signalbox_crds::app::PortfolioAppStatus;
use signalbox_crds::migration::DatabaseMigrationStatus;
use signalbox_crds::{DatabaseMigration, PortfolioApp};
use tokio_postgres::NoTls;

use super::setup::World;
use super::{example, keys};
use crate::error::CliError;
use crate::live::Target;
use crate::tree::Standing;

/// A check that does not hold.
pub(super) fn wrong(step: &str, found: impl Into<String>) -> CliError {
    CliError::Check {
        step: step.to_owned(),
        found: found.into(),
    }
}

/// `found` must be `wanted`.
pub(super) fn same<T: PartialEq + std::fmt::Debug>(
    step: &str,
    found: &T,
    wanted: &T,
) -> Result<(), CliError> {
    if found == wanted {
        Ok(())
    } else {
        Err(wrong(step, format!("{found:?} instead of {wanted:?}")))
    }
}

/// The app once `holds`; an error with its state if that takes too long.
pub(super) async fn app_until(
    world: &World,
    step: &str,
    limit: Duration,
    holds: impl Fn(&PortfolioApp, &PortfolioAppStatus) -> bool,
) -> Result<PortfolioApp, CliError> {
    let api = world.target.api::<PortfolioApp>();
    let mut changes = world.target.changes();
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let app = api
            .get(example::APP)
            .await
            .map_err(CliError::api("read the app"))?;
        let status = app.status.clone().unwrap_or_default();
        let current = app.metadata.generation == Some(status.observed_generation);
        if current && holds(&app, &status) {
            return Ok(app);
        }
        if !matches!(
            tokio::time::timeout_at(deadline, changes.next()).await,
            Ok(Some(()))
        ) {
            return Err(wrong(step, late(&app, limit)));
        }
    }
}

/// Waits until the example's migration `holds`.
pub(super) async fn migration_until(
    world: &World,
    step: &str,
    limit: Duration,
    holds: impl Fn(&DatabaseMigrationStatus) -> bool,
) -> Result<(), CliError> {
    let target = Target {
        kind: Kind::DatabaseMigration,
        name: example::MIGRATION.to_owned(),
        ..world.target.clone()
    };
    let mut changes = target.changes();
    let deadline = tokio::time::Instant::now() + limit;
    loop {
        let found = target.api::<DatabaseMigration>().get(&target.name).await;
        let found = found.map_err(CliError::api("read the migration"))?;
        let status = found.status.clone().unwrap_or_default();
        let settled = Standing::of_migration(&found).phase != "Migrating";
        if found.metadata.generation == Some(status.observed_generation)
            && settled
            && holds(&status)
        {
            return Ok(());
        }
        if !matches!(
            tokio::time::timeout_at(deadline, changes.next()).await,
            Ok(Some(()))
        ) {
            let standing = Standing::of_migration(&found);
            return Err(wrong(
                step,
                format!("the migration is {}: {}", standing.phase, standing.message),
            ));
        }
    }
}

/// How far the app is, after too long a time.
fn late(app: &PortfolioApp, limit: Duration) -> String {
    let standing = Standing::of_app(app);
    let rollout = app
        .status
        .as_ref()
        .and_then(|status| status.rollout.as_ref());
    let rollout = rollout
        .map(|r| format!(", rollout {:?}", r.state))
        .unwrap_or_default();
    let (phase, message) = (standing.phase, standing.message);
    format!(
        "after {} s the app is {phase}{rollout}: {message}",
        limit.as_secs()
    )
}

/// First column of all rows.
pub(super) async fn query(world: &World, sql: &str) -> Result<Vec<String>, CliError> {
    let failed = |act| move |source| CliError::Database { act, source };
    let (client, connection) = tokio_postgres::connect(&world.database, NoTls)
        .await
        .map_err(failed("connect"))?;
    let connection = tokio::spawn(connection);
    let rows = client
        .query(sql, &[])
        .await
        .map_err(failed("ask the database"));
    connection.abort();
    rows?
        .iter()
        .map(|row| row.try_get(0).map_err(failed("read the database's answer")))
        .collect()
}

/// Versions in the history table, in order.
pub(super) async fn applied_versions(world: &World) -> Result<Vec<String>, CliError> {
    query(
        world,
        "SELECT version FROM signalbox.history WHERE state = 'applied' ORDER BY seq",
    )
    .await
}

/// Columns of the table that the example migrates.
pub(super) async fn columns(world: &World) -> Result<Vec<String>, CliError> {
    let sql = "SELECT column_name::text FROM information_schema.columns \
               WHERE table_name = 'orders' ORDER BY column_name";
    query(world, sql).await
}

/// Names of the objects of a kind in the example's namespace, through kubectl.
pub(super) async fn names(world: &World, kind: &str) -> Result<Vec<String>, CliError> {
    let arguments = [
        "get",
        kind,
        "-n",
        example::NAMESPACE,
        "-ojsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}",
    ];
    let text = world.cluster.kubectl(&arguments).await?;
    Ok(text
        .lines()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Reasons of the Kubernetes Events about the app.
pub(super) async fn event_reasons(world: &World) -> Result<Vec<String>, CliError> {
    let path = "-ojsonpath={range .items[*]}{.regarding.kind}/{.reason}{\"\\n\"}{end}";
    let arguments = [
        "get",
        "events.events.k8s.io",
        "-n",
        example::NAMESPACE,
        path,
    ];
    let text = world.cluster.kubectl(&arguments).await?;
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix("PortfolioApp/"))
        .map(str::to_owned)
        .collect())
}

/// Watches how many pods are available, over all revisions, and keeps the smallest number.
pub(super) struct Serving {
    least: Arc<AtomicI64>,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Starts to watch.
    pub(super) fn watch(world: &World) -> Self {
        let api: Api<Deployment> = world.target.api();
        let least = Arc::new(AtomicI64::new(i64::MAX));
        let kept = Arc::clone(&least);
        let task = tokio::spawn(async move {
            let mut available = std::collections::BTreeMap::new();
            let mut all = watcher(api, watcher::Config::default())
                .default_backoff()
                .modify(|_| {})
                .boxed();
            let mut listed = false;
            while let Some(event) = all.next().await {
                match event {
                    Ok(watcher::Event::Apply(found) | watcher::Event::InitApply(found)) => {
                        let count = found.status.as_ref().and_then(|s| s.available_replicas);
                        available.insert(found.name_any(), i64::from(count.unwrap_or(0)));
                    }
                    Ok(watcher::Event::Delete(gone)) => {
                        available.remove(&gone.name_any());
                    }
                    Ok(watcher::Event::InitDone) => listed = true,
                    Ok(watcher::Event::Init) | Err(_) => {}
                }
                if listed {
                    kept.fetch_min(available.values().sum(), Ordering::Relaxed);
                }
            }
        });
        Self { least, task }
    }

    /// The smallest number of available pods since the start.
    pub(super) fn least(&self) -> i64 {
        self.least.load(Ordering::Relaxed)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends a trigger as a tenant's CI would, with the stock protocol; returns the answer.
pub(super) async fn trigger_image(
    world: &World,
    id: &str,
    image: &str,
) -> Result<String, CliError> {
    let role = Role::Trigger {
        tenant: keys::TENANT.to_owned(),
    };
    let client = world.bus(&role).connect(&role).await?;
    let failed = |error: String| wrong("trigger", error);
    let inbox = client.new_inbox();
    let mut answers = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| failed(error.to_string()))?;
    let key = ObjectKey::new(Kind::PortfolioApp, example::NAMESPACE, example::APP);
    let about = key.to_string();
    let mut attributes = headers(&Attributes {
        id,
        source: "/demo/ci",
        entry: "trigger",
        subject: &about,
        time: Timestamp::now(),
        reconcile_id: None,
    });
    attributes.insert("ce-replyto".to_owned(), inbox);
    let mut map = async_nats::HeaderMap::new();
    for (name, value) in &attributes {
        map.insert(name.as_str(), value.as_str());
    }
    let body = json!({ "image": image }).to_string();
    let stored = async_nats::jetstream::new(client.clone())
        .publish_with_headers(
            subject::trigger(keys::TENANT, &key, "set-image"),
            map,
            body.into(),
        )
        .await
        .map_err(|error| failed(error.to_string()))?;
    stored.await.map_err(|error| failed(error.to_string()))?;
    let answer = tokio::time::timeout(Duration::from_secs(10), answers.next()).await;
    match answer {
        Ok(Some(message)) => Ok(String::from_utf8_lossy(&message.payload).into_owned()),
        Ok(None) | Err(_) => Err(failed("no answer within 10 s".to_owned())),
    }
}
