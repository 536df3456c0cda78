//! The comparison with a relist, metadata only and spread out: what a watch never told is found.
//!
//! Decides what differs; the watch itself is then made to list anew, so there is one way into the cache.

use std::collections::HashMap;
use std::time::Duration;

use kube::api::{ListParams, ObjectList};
use kube::core::Request;
use kube::{Client, Error, Resource as _};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::cache::Uid;
use crate::queue::number;
use crate::watch::{Raw, Source};

/// How often each kind is compared.
const EVERY: Duration = Duration::from_mins(5);
/// A difference that is still there after this time is one.
const SECOND_LOOK: Duration = Duration::from_secs(3);
/// Objects in one page.
const PAGE: u32 = 500;

type Names = HashMap<(String, String), (Uid, u64)>;

/// What a relist found.
#[derive(Clone)]
struct Listed {
    /// Uid and version by namespace and name.
    names: Names,
    /// The version that all of it was listed at.
    version: u64,
}

/// What a relist found, to compare the cache with.
pub(crate) struct Inventory {
    pub(crate) source: Source,
    listed: Listed,
    pub(crate) second_look: bool,
    answer: oneshot::Sender<usize>,
}

impl Inventory {
    /// How many objects the cache lacks, has in an older version, or still has.
    pub(crate) fn differences(&self, cached: &Names) -> usize {
        let behind = self.listed.names.iter().filter(|(name, (uid, version))| {
            cached
                .get(*name)
                .is_none_or(|(known, seen)| known != uid || seen < version)
        });
        // What is newer than the list may have come since.
        let left = cached.iter().filter(|(name, (_, seen))| {
            !self.listed.names.contains_key(*name) && *seen <= self.listed.version
        });
        behind.count() + left.count()
    }

    pub(crate) fn tell(self, differences: usize) {
        // The comparing task may have ended.
        let _ = self.answer.send(differences);
    }
}

/// Compares all kinds in turn, for as long as somebody listens.
pub(crate) async fn compare(client: Client, tell: mpsc::Sender<Inventory>) {
    let sources: Vec<Source> = Source::all()
        .into_iter()
        .filter(|source| *source != Source::Leases)
        .collect();
    let pause = EVERY / u32::try_from(sources.len()).unwrap_or(1).max(1);
    loop {
        for source in &sources {
            tokio::time::sleep(pause).await;
            let listed = match list(&client, *source).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::debug!(kind = source.kind(), %error, "failed to relist");
                    continue;
                }
            };
            let Some(differences) = ask(&tell, *source, listed.clone(), false).await else {
                return;
            };
            if differences > 0 {
                tokio::time::sleep(SECOND_LOOK).await;
                if ask(&tell, *source, listed, true).await.is_none() {
                    return;
                }
            }
        }
    }
}

async fn ask(
    tell: &mpsc::Sender<Inventory>,
    source: Source,
    listed: Listed,
    second_look: bool,
) -> Option<usize> {
    let (answer, told) = oneshot::channel();
    tell.send(Inventory {
        source,
        listed,
        second_look,
        answer,
    })
    .await
    .ok()?;
    told.await.ok()
}

/// What is read of an object: the rest of its metadata is many times as long.
#[derive(Clone, Deserialize)]
struct Known {
    metadata: Identity,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    namespace: Option<String>,
    name: Option<String>,
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    resource_version: String,
}

async fn list(client: &Client, source: Source) -> Result<Listed, Error> {
    let requests = Request::new(Raw::url_path(&source.resource(), None));
    let mut names = Names::new();
    let mut first = None;
    let mut params = ListParams::default().limit(PAGE);
    if let Some(label) = source.label() {
        params = params.labels(label);
    }
    loop {
        let request = requests.list_metadata(&params);
        let request = request.map_err(Error::BuildRequest)?;
        let page: ObjectList<Known> = client.request(request).await?;
        // Later pages may be newer, when the server no longer has the first one's version.
        let page_at = number(&page.metadata.resource_version.unwrap_or_default());
        let listed_at = *first.get_or_insert(page_at);
        for Known { metadata } in page.items {
            let (Some(namespace), Some(name)) = (metadata.namespace, metadata.name) else {
                continue;
            };
            let version = number(&metadata.resource_version);
            names.insert((namespace, name), (metadata.uid.into(), version));
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => {
                return Ok(Listed {
                    names,
                    version: listed_at,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lags_or_stays_differs() {
        let names = |of: &[(&str, u64)]| -> Names {
            let named = of.iter().map(|(name, version)| {
                (("n".to_owned(), (*name).to_owned()), ("u".into(), *version))
            });
            named.collect()
        };
        let (answer, _told) = oneshot::channel();
        let inventory = Inventory {
            source: Source::Leases,
            listed: Listed {
                names: names(&[("a", 5), ("b", 7)]),
                version: 9,
            },
            second_look: false,
            answer,
        };
        let differences = |cached: &[(&str, u64)]| inventory.differences(&names(cached));
        assert_eq!(differences(&[("a", 5), ("b", 9), ("new", 10)]), 0);
        assert_eq!(differences(&[("a", 4), ("b", 7), ("left", 3)]), 2);
        assert_eq!(differences(&[("a", 5)]), 1);
        let newest = [("a", 5), ("b", 7), ("left", 8)];
        assert_eq!(differences(&newest), 1, "newer than all that is left");
    }
}
