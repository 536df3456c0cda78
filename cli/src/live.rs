//! Reading what `get`, `status` and `dev` show, once or again after each change.
//!
//! Never writes. The API server tells of changes; nothing is asked for at intervals.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use signalbox_common::kinds::Kind;
use signalbox_crds::names::{LABEL_OWNER, LABEL_REVISION};
use signalbox_crds::{DatabaseMigration, PortfolioApp};

use crate::connect::{Cluster, KubeArgs};
use crate::error::CliError;
use crate::tree::{Picture, Standing};

/// Changes that come together make one picture.
const GATHER: Duration = Duration::from_millis(100);

/// An object that is looked at.
#[derive(Clone)]
pub struct Target {
    /// The cluster and namespace.
    pub cluster: Cluster,
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// Kind and name as given: `NAME`, `KIND NAME` or `KIND/NAME`.
pub fn kind_and_name(words: &[String]) -> Result<(Kind, String), CliError> {
    let usage = |text: String| CliError::Usage(text);
    let parse = |word: &str| {
        Kind::parse(word).ok_or_else(|| {
            usage(format!(
                "unknown kind `{word}`: portfolioapp (papp) or databasemigration (dbm)"
            ))
        })
    };
    match words {
        [name] => match name.split_once('/') {
            Some((kind, name)) => Ok((parse(kind)?, name.to_owned())),
            None => Ok((Kind::PortfolioApp, name.clone())),
        },
        [kind, name] => Ok((parse(kind)?, name.clone())),
        _ => Err(usage("give NAME, KIND NAME or KIND/NAME".to_owned())),
    }
}

impl Target {
    /// Connects to the cluster of the object that `words` name (see [`kind_and_name`]).
    pub async fn connect(kube: &KubeArgs, words: &[String]) -> Result<Self, CliError> {
        let (kind, name) = kind_and_name(words)?;
        Ok(Self {
            cluster: kube.connect().await?,
            kind,
            name,
        })
    }

    /// Everything that its picture needs.
    pub async fn picture(&self) -> Result<Picture, CliError> {
        match self.kind {
            Kind::PortfolioApp => self.app().await,
            Kind::DatabaseMigration => Ok(Picture::Migration(Box::new(
                self.find(self.kind, &self.name).await?,
            ))),
        }
    }

    async fn app(&self) -> Result<Picture, CliError> {
        let app: PortfolioApp = self.find(self.kind, &self.name).await?;
        let named = app
            .spec
            .migrations
            .as_ref()
            .map(|migrations| migrations.name.as_str());
        let migration = match named {
            Some(name) => self
                .api::<DatabaseMigration>()
                .get_opt(name)
                .await
                .map_err(CliError::api(format!("read DatabaseMigration {name}")))?,
            None => None,
        };
        let deployments = self.api::<Deployment>().list(&self.owned()).await;
        let deployments = deployments
            .map_err(CliError::api("list Deployments"))?
            .items;
        let pods = self.api::<Pod>().list(&self.owned()).await;
        let pods = pods.map_err(CliError::api("list pods"))?.items;
        let has_revision = |labels: &std::collections::BTreeMap<String, String>| {
            labels.contains_key(LABEL_REVISION)
        };
        Ok(Picture::App {
            app: Box::new(app),
            deployments: deployments
                .into_iter()
                .filter(|d| has_revision(d.labels()))
                .collect(),
            pods: pods
                .into_iter()
                .filter(|pod| has_revision(pod.labels()))
                .collect(),
            migration: migration.map(Box::new),
        })
    }

    /// What it says of itself; none if it does not exist.
    pub async fn standing(&self) -> Result<Option<Standing>, CliError> {
        let failed = || CliError::api(format!("read {} {}", self.kind, self.name));
        Ok(match self.kind {
            Kind::PortfolioApp => {
                let app = self.api::<PortfolioApp>().get_opt(&self.name).await;
                app.map_err(failed())?.map(|app| Standing::of_app(&app))
            }
            Kind::DatabaseMigration => {
                let migration = self.api::<DatabaseMigration>().get_opt(&self.name).await;
                migration
                    .map_err(failed())?
                    .map(|found| Standing::of_migration(&found))
            }
        })
    }

    /// One item for each change (and one at the start) of what the picture shows.
    #[must_use]
    pub fn changes(&self) -> BoxStream<'static, ()> {
        let mut all: SelectAll<BoxStream<'static, ()>> = SelectAll::new();
        let own = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        match self.kind {
            Kind::PortfolioApp => {
                let owned =
                    watcher::Config::default().labels(&format!("{LABEL_OWNER}={}", self.name));
                all.push(ticks(self.api::<PortfolioApp>(), own));
                all.push(ticks(self.api::<Deployment>(), owned.clone()));
                all.push(ticks(self.api::<Pod>(), owned));
                all.push(ticks(
                    self.api::<DatabaseMigration>(),
                    watcher::Config::default(),
                ));
            }
            Kind::DatabaseMigration => all.push(ticks(self.api::<DatabaseMigration>(), own)),
        }
        all.ready_chunks(1024)
            .then(async |_| tokio::time::sleep(GATHER).await)
            .boxed()
    }

    fn owned(&self) -> ListParams {
        ListParams::default().labels(&format!("{LABEL_OWNER}={}", self.name))
    }

    async fn find<K>(&self, kind: Kind, name: &str) -> Result<K, CliError>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let found = self.api::<K>().get_opt(name).await;
        found
            .map_err(CliError::api(format!("read {kind} {name}")))?
            .ok_or_else(|| CliError::NotFound {
                kind: kind.as_str(),
                name: name.to_owned(),
                namespace: self.cluster.namespace.clone(),
            })
    }

    /// The objects of a kind in the namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }
}

fn ticks<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, ()>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api, config)
        .default_backoff()
        .map_ok(drop)
        // A broken watch starts anew by itself; what was missed comes with its list.
        .filter_map(async |event| event.ok())
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(words: &[&str]) -> Result<(Kind, String), String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        kind_and_name(&words).map_err(|error| error.to_string())
    }

    #[test]
    fn kinds_may_be_given_in_any_spelling_or_not_at_all() {
        assert_eq!(named(&["web"]), Ok((Kind::PortfolioApp, "web".to_owned())));
        assert_eq!(
            named(&["dbm", "x"]),
            Ok((Kind::DatabaseMigration, "x".to_owned()))
        );
        assert_eq!(
            named(&["papp/web"]),
            Ok((Kind::PortfolioApp, "web".to_owned()))
        );
        let error = named(&["pods", "x"]).unwrap_err();
        assert!(
            error.contains("`pods`") && error.contains("papp"),
            "{error}"
        );
    }
}
