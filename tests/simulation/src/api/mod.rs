//! An API server in memory, behind the same client that the parts use for a real one.
//!
//! It models exactly what the parts use, and passes the same contract suite as the real server. Every
//! request of a part passes [`Net`], where faults are.

mod body;
pub mod json;
pub mod kept;
pub mod kinds;
mod refusal;
mod request;
pub mod store;
mod watch;
pub mod write;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{fmt, io};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use signalbox_common::part::Part;
use tokio::sync::{Notify, mpsc};
use tower::Service;

use self::body::Answer;
use self::json::text;
pub use self::refusal::Refusal;
use self::request::{Asked, Selection};
use self::store::{Change, Deed, Kept, Place, Store};
use self::write::{Sub, Verb, scale_of};
use crate::net::{Net, Side, Verdict};

/// The name under which changes of all kinds are waited for.
pub const ANY: &str = "";

/// Who looks at every change, as it happens.
pub type Eye = Box<dyn FnMut(&str, &Change) + Send>;

/// The server: what it keeps, and who wants to know of changes.
pub struct Server {
    store: Mutex<Store>,
    /// Who waits for changes of a kind; under no kind: for any.
    changed: BTreeMap<&'static str, Notify>,
    eye: Mutex<Option<Eye>>,
}

impl Server {
    /// An empty one; uids come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(Store::new(seed)),
            changed: kinds::RESOURCES
                .iter()
                .map(|resource| resource.kind)
                .chain([ANY])
                .map(|kind| (kind, Notify::new()))
                .collect(),
            eye: Mutex::new(None),
        })
    }

    /// What it keeps.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows every change from now on to `eye`, with who made it.
    pub fn show(&self, eye: Eye) {
        *self.eye.lock().unwrap_or_else(PoisonError::into_inner) = Some(eye);
    }

    /// Waits for a change of a kind after `seen`. Wakes whoever waits in the order in which they came: a
    /// channel of tokio's would choose by chance.
    pub async fn changed(&self, kind: &str, seen: u64) {
        let Some(news) = self.changed.get(kind) else {
            return std::future::pending().await;
        };
        loop {
            let mut changed = pin!(news.notified());
            changed.as_mut().enable();
            let newest = {
                let store = self.store();
                if kind == ANY {
                    store.version()
                } else {
                    store.newest(kind)
                }
            };
            if newest > seen {
                return;
            }
            changed.await;
        }
    }

    /// Does a write in the name of `who`; what it did, and the object after it.
    pub fn write(
        &self,
        who: &str,
        verb: Verb,
        place: &Place,
        sub: Sub,
        body: &Value,
        now: Timestamp,
    ) -> Result<(Option<Deed>, Arc<Kept>), Refusal> {
        let (written, news) = {
            let mut store = self.store();
            let before = store.version();
            let written = store.write(verb, place, sub, body, now);
            (written, store.since(before).to_vec())
        };
        if let Some(eye) = self
            .eye
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            for change in &news {
                eye(who, change);
            }
        }
        if !news.is_empty() {
            let kinds = [place.resource.kind, ANY];
            kinds
                .iter()
                .filter_map(|kind| self.changed.get(kind))
                .for_each(Notify::notify_waiters);
        }
        written.map(|object| (news.first().map(|change| change.deed), object))
    }

    /// A client in the name of a part, through the net.
    pub fn client(self: &Arc<Self>, part: &Part, net: &Arc<Net>) -> Client {
        let service = Line {
            server: self.clone(),
            part: part.clone(),
            net: net.clone(),
        };
        Client::new(service, "default")
    }

    fn read(&self, asked: &Asked) -> Result<Bytes, Refusal> {
        let store = self.store();
        match asked {
            Asked::Get(place, sub) => {
                let object = store
                    .get(place)
                    .ok_or_else(|| Refusal::new(404, format!("{place} not found")))?;
                Ok(match sub {
                    Sub::Whole | Sub::Status => object.text().clone(),
                    Sub::Scale => Bytes::from(scale_of(place, &object).to_string()),
                })
            }
            Asked::List(selection) => Ok(Bytes::from(list(&store, selection).to_string())),
            Asked::Watch(..) | Asked::Write(..) => Err(Refusal::new(405, "not a read")),
        }
    }
}

fn list(store: &Store, selection: &Selection) -> Value {
    let after = |place: &Place| {
        let at = format!("{}/{}", place.namespace, place.name);
        selection.after.as_ref().is_none_or(|after| at > *after)
    };
    let mut found = store
        .all(selection.resource)
        .filter(|(place, object)| selection.has(place, object) && after(place));
    let mut items = Vec::new();
    let mut last = String::new();
    while items.len() < selection.limit
        && let Some((place, object)) = found.next()
    {
        last = format!("{}/{}", place.namespace, place.name);
        items.push(if selection.metadata_only {
            json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata"),
            })
        } else {
            Value::clone(object)
        });
    }
    let more = found.next().map(|_| last);
    let (kind, api_version) = if selection.metadata_only {
        (
            "PartialObjectMetadataList".to_owned(),
            "meta.k8s.io/v1".to_owned(),
        )
    } else {
        let resource = selection.resource;
        (format!("{}List", resource.kind), resource.api_version())
    };
    json!({
        "kind": kind, "apiVersion": api_version, "items": items,
        "metadata": { "resourceVersion": store.version().to_string(), "continue": more.unwrap_or_default() },
    })
}

/// A part's line to the server.
#[derive(Clone)]
struct Line {
    server: Arc<Server>,
    part: Part,
    net: Arc<Net>,
}

impl Service<Request<Body>> for Line {
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let line = self.clone();
        async move { line.exchange(request).await }.boxed()
    }
}

impl Line {
    async fn exchange(self, request: Request<Body>) -> Result<Response<Answer>, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let asked = match Asked::parse(&head.method, &head.uri, &head.headers, &body) {
            Ok(asked) => asked,
            Err(refusal) => return Ok(refused(&refusal)),
        };
        let doing = self.net.doing(
            Side::Api,
            asked.is_write(),
            format_args!("{} {}", As(&asked), head.uri.path()),
        );
        let passage = match self.net.enter(&self.part, doing).await {
            Verdict::Pass(passage) => passage,
            Verdict::Refuse(refusal) => return Ok(refused(&refusal)),
            Verdict::Reset => return Err(io::Error::new(io::ErrorKind::ConnectionReset, "reset")),
        };
        let answer = match &asked {
            Asked::Watch(selection, from) => Ok(self.watch(selection.clone(), *from)),
            Asked::Write(verb, place, sub, body) => {
                check_fence(&self.net, &self.part, *verb, place, *sub, body);
                let written =
                    self.server
                        .write(self.part.name(), *verb, place, *sub, body, self.net.now());
                written.map(|(deed, object)| {
                    let code = if deed == Some(Deed::Added) { 201 } else { 200 };
                    whole(code, object.text().clone())
                })
            }
            Asked::Get(..) | Asked::List(_) => {
                self.server.read(&asked).map(|read| whole(200, read))
            }
        };
        let code = answer
            .as_ref()
            .map_or_else(|refusal| refusal.code, |answer| answer.status().as_u16());
        let told = self.net.told(format_args!("{code}"));
        if self.net.leave(&self.part, passage, &told).await.is_err() {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the answer was lost",
            ));
        }
        Ok(answer.unwrap_or_else(|refusal| refused(&refusal)))
    }

    fn watch(&self, selection: Selection, from: request::From) -> Response<Answer> {
        let (lines, told) = mpsc::unbounded_channel();
        let watch = watch::Watch {
            server: self.server.clone(),
            net: self.net.clone(),
            part: self.part.clone(),
            selection,
            from,
            lines,
        };
        tokio::spawn(watch.run());
        Response::new(Answer::Lines(told))
    }
}

/// A request, as a line of the trace tells it.
struct As<'a>(&'a Asked);

impl fmt::Display for As<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Asked::Get(..) => f.write_str("get"),
            Asked::List(_) => f.write_str("list"),
            Asked::Watch(..) => f.write_str("watch"),
            Asked::Write(verb, _, sub, _) => {
                let verb = match sub {
                    Sub::Whole => format!("{verb:?}"),
                    Sub::Status | Sub::Scale => format!("{verb:?} {sub:?}"),
                };
                f.write_str(&verb.to_lowercase())
            }
        }
    }
}

/// A write of an executor names what it rests on; else a stale one could not be refused.
fn check_fence(net: &Net, part: &Part, verb: Verb, place: &Place, sub: Sub, body: &Value) {
    if !part.name().starts_with("executor") {
        return;
    }
    let version = text(body, "/metadata/resourceVersion");
    let uid = text(body, "/metadata/uid");
    let fenced = match verb {
        Verb::Post => true,
        Verb::Apply => version == "1" || (!version.is_empty() && !uid.is_empty()),
        Verb::Put | Verb::Merge => !version.is_empty() && !uid.is_empty(),
        // A Lease ends whatever its version: a renewal must not save it.
        Verb::Delete => {
            let version = text(body, "/preconditions/resourceVersion");
            body.pointer("/preconditions/uid").is_some()
                && (!version.is_empty() || place.resource.kind == "Lease")
        }
    };
    if !fenced {
        net.broken(format!(
            "{} writes without a fence: {verb:?} {sub:?} {place}",
            part.name()
        ));
    }
}

fn whole(code: u16, body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(body)));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let body = Bytes::from(refusal.status().to_string());
    let mut response = whole(refusal.code, body);
    if let Some(seconds) = refusal.retry_after {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, http::HeaderValue::from(seconds));
    }
    response
}
