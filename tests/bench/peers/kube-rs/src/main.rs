//! A peer of the bench: `ConfigMap`, Service, Deployment and status of a `PortfolioApp`, as a good user of kube's
//! `Controller` writes it: owned children, reads from the cache, a write only where something differs.

#![allow(
    clippy::indexing_slicing,
    reason = "objects are made as JSON, as the peer's users would"
)]

mod children;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{PredicateConfig, WatchStreamExt as _, predicates, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use signalbox_crds::app::{PortfolioApp, PortfolioAppStatus};
use signalbox_crds::condition::{ConditionStatus, READY, Wanted, merge};

/// Reconciles at one time.
const WORKERS: u16 = 16;
/// After a failed reconcile.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to write {what}: {source}")]
    Write {
        what: &'static str,
        source: kube::Error,
    },
    #[error("failed to read the cached object: {0}")]
    Json(#[from] serde_json::Error),
}

/// A client, and what is known of the children.
struct Context {
    client: Client,
    config_maps: Store<ConfigMap>,
    services: Store<Service>,
    deployments: Store<Deployment>,
}

#[tokio::main]
async fn main() -> Result<(), kube::Error> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .init();
    let client = Client::try_default().await?;
    let (apps, stream) = watched::<PortfolioApp>(&client);
    let changed = stream
        .applied_objects()
        .predicate_filter(predicates::generation, PredicateConfig::default());
    let (config_maps, of_config_maps) = watched::<ConfigMap>(&client);
    let (services, of_services) = watched::<Service>(&client);
    let (deployments, of_deployments) = watched::<Deployment>(&client);
    let context = Context {
        client,
        config_maps,
        services,
        deployments,
    };
    Controller::for_stream(changed, apps)
        .owns_stream(of_config_maps.touched_objects())
        .owns_stream(of_services.touched_objects())
        .owns_stream(of_deployments.touched_objects())
        .with_config(Config::default().concurrency(WORKERS))
        .shutdown_on_signal()
        .run(reconcile, retry, Arc::new(context))
        .for_each(|done| async {
            if let Err(error) = done {
                tracing::warn!(%error, "failed to reconcile");
            }
        })
        .await;
    Ok(())
}

/// The cache of a kind, and the events that fill it.
fn watched<K>(
    client: &Client,
) -> (
    Store<K>,
    impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = store();
    let stream = watcher(Api::<K>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer);
    (reader, stream)
}

async fn reconcile(app: Arc<PortfolioApp>, context: Arc<Context>) -> Result<Action, Error> {
    if app.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    // A child's event may come before the other caches are filled.
    let filled = futures::future::try_join3(
        context.config_maps.wait_until_ready(),
        context.services.wait_until_ready(),
        context.deployments.wait_until_ready(),
    );
    if filled.await.is_err() {
        return Ok(Action::requeue(RETRY));
    }
    let client = &context.client;
    futures::try_join!(
        write(
            client,
            &context.config_maps,
            children::config_map(&app),
            "the ConfigMap"
        ),
        write(
            client,
            &context.services,
            children::service(&app),
            "the Service"
        ),
        write(
            client,
            &context.deployments,
            children::deployment(&app),
            "the Deployment"
        ),
    )?;
    tell(&app, &context).await?;
    Ok(Action::await_change())
}

/// Applies a child where it differs from what is known of it.
async fn write<K>(
    client: &Client,
    known: &Store<K>,
    wanted: Value,
    what: &'static str,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    let text = |pointer: &str| {
        wanted
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    if let Some(live) = known.get(&ObjectRef::new(name).within(namespace))
        && children::is_satisfied(&serde_json::to_value(&*live)?, &wanted)
    {
        return Ok(());
    }
    let params = PatchParams::apply(children::MANAGER).force();
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let written = api.patch(name, &params, &Patch::Apply(&wanted)).await;
    written
        .map(drop)
        .map_err(|source| Error::Write { what, source })
}

async fn tell(app: &PortfolioApp, context: &Context) -> Result<(), Error> {
    let (name, namespace) = (app.name_any(), app.namespace().unwrap_or_default());
    let deployment = context
        .deployments
        .get(&ObjectRef::new(&name).within(&namespace));
    let pods = deployment
        .and_then(|deployment| deployment.status.clone())
        .unwrap_or_default();
    let generation = app.metadata.generation.unwrap_or_default();
    let ready_replicas = pods.ready_replicas.unwrap_or_default();
    let ready = if ready_replicas >= app.spec.replicas {
        (ConditionStatus::True, "Available", "Ready")
    } else {
        (ConditionStatus::False, "Progressing", "Progressing")
    };
    let old = app.status.clone().unwrap_or_default();
    let wanted = Wanted {
        type_: READY,
        status: ready.0,
        reason: ready.1,
        message: String::new(),
    };
    let new = PortfolioAppStatus {
        observed_generation: generation,
        phase: Some(ready.2.to_owned()),
        conditions: merge(&old.conditions, &[wanted], generation, Timestamp::now()),
        replicas: pods.replicas.unwrap_or_default(),
        ready_replicas,
        selector: Some(format!("app.kubernetes.io/name={name}")),
        ..PortfolioAppStatus::default()
    };
    if new == old {
        return Ok(());
    }
    let api = Api::<PortfolioApp>::namespaced(context.client.clone(), &namespace);
    let patch = Patch::Merge(json!({ "status": new }));
    let told = api
        .patch_status(&name, &PatchParams::default(), &patch)
        .await;
    told.map(drop).map_err(|source| Error::Write {
        what: "the status",
        source,
    })
}

fn retry(_: Arc<PortfolioApp>, _: &Error, _: Arc<Context>) -> Action {
    Action::requeue(RETRY)
}
