//! The watches: one task a kind, trimming each object as it comes.
//!
//! Decides what a failed watch means (absent, forbidden, broken); never what a change means. Ends only
//! with the process: a failed watch is begun anew, with backoff.

mod item;
mod source;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::{Notify, mpsc};

use item::item;
pub use item::{Body, Item, Raw};
pub use source::Source;

/// Objects in one page of a list: small, for a page is held whole and untrimmed.
const PAGE: u32 = 250;
/// Seconds after which the server ends a watch: a dead connection is noticed a little later.
const WATCH_SECONDS: u32 = 60;
/// A failed watch that is silent for this long runs again.
const SILENT_IS_WELL: Duration = Duration::from_secs(5);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Why a watch does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The server does not serve the kind.
    Absent,
    /// Forbidden or broken, and why.
    Blind(String),
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Told {
    /// A list begins; what it does not name is gone.
    Init,
    /// An object of the list.
    Listed(Item),
    /// The list is complete.
    InitDone,
    /// An object is new or changed.
    Applied(Item),
    /// An object is gone (or left the view).
    Deleted(Item),
    /// The watch does not run.
    Failed(Trouble),
    /// The watch runs again.
    Well,
}

/// Watches one kind until the process ends; `again` makes it list anew.
pub async fn watch(
    client: Client,
    source: Source,
    tell: mpsc::Sender<(Source, Told)>,
    again: Arc<Notify>,
) {
    let api: Api<Raw> = Api::all_with(client, &source.resource());
    let mut config = watcher::Config::default()
        .page_size(PAGE)
        .timeout(WATCH_SECONDS);
    if let Some(label) = source.label() {
        config = config.labels(label);
    }
    loop {
        let once = watch_once(api.clone(), config.clone(), source, &tell);
        tokio::select! {
            biased;
            ended = once => if ended.is_none() { return },
            () = again.notified() => {}
        }
    }
}

/// Watches until the stream ends; none: nobody listens any more.
async fn watch_once(
    api: Api<Raw>,
    config: watcher::Config,
    source: Source,
    tell: &mpsc::Sender<(Source, Told)>,
) -> Option<()> {
    let mut stream = pin!(watcher(api, config));
    let (mut failed, mut asking) = (false, false);
    let mut wait = BACKOFF.0;
    loop {
        let next = if failed && !asking {
            match tokio::time::timeout(SILENT_IS_WELL, stream.next()).await {
                Ok(next) => next,
                Err(_elapsed) => {
                    failed = false;
                    wait = BACKOFF.0;
                    tell.send((source, Told::Well)).await.ok()?;
                    continue;
                }
            }
        } else {
            stream.next().await
        };
        match next {
            None => return Some(()),
            Some(Ok(event)) => {
                // It begins before the server is asked: no sign that it answers.
                asking = matches!(event, Event::Init);
                if failed && !asking {
                    (failed, wait) = (false, BACKOFF.0);
                    tell.send((source, Told::Well)).await.ok()?;
                }
                if let Some(told) = told(source, event) {
                    tell.send((source, told)).await.ok()?;
                }
            }
            Some(Err(error)) => {
                (failed, asking) = (true, false);
                tracing::debug!(kind = source.kind(), %error, "watch failed");
                tell.send((source, Told::Failed(trouble(source, &error))))
                    .await
                    .ok()?;
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACKOFF.1);
            }
        }
    }
}

fn told(source: Source, event: Event<Raw>) -> Option<Told> {
    Some(match event {
        Event::Init => Told::Init,
        Event::InitDone => Told::InitDone,
        Event::InitApply(raw) => Told::Listed(item(source, raw)?),
        Event::Apply(raw) => Told::Applied(item(source, raw)?),
        Event::Delete(raw) => Told::Deleted(item(source, raw)?),
    })
}

fn trouble(source: Source, error: &watcher::Error) -> Trouble {
    let (verb, cause) = match error {
        watcher::Error::InitialListFailed(cause) => ("list", cause),
        watcher::Error::WatchStartFailed(cause) | watcher::Error::WatchFailed(cause) => {
            ("watch", cause)
        }
        other @ (watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion) => {
            return Trouble::Blind(other.to_string());
        }
    };
    if let kube::Error::Api(status) = cause {
        match status.code {
            404 => return Trouble::Absent,
            403 => {
                let plural = source.resource().plural;
                return Trouble::Blind(format!("forbidden: {verb} {plural}"));
            }
            _ => {}
        }
    }
    Trouble::Blind(cause.to_string())
}
