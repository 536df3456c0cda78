//! An API server in memory, behind the same client that the parts use for a real one.
//!
//! It models exactly what the parts use, and passes the same contract suite as the real server. Every
//! request of a part passes [`Net`], where faults are.

mod body;
pub mod json;
pub mod kinds;
mod refusal;
mod request;
pub mod store;
mod watch;
pub mod write;

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

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
use self::store::{Change, Deed, Place, Store};
use self::write::{Sub, Verb, scale_of};
use crate::net::{Doing, Net, Verdict};

/// Who looks at every change, as it happens.
pub type Eye = Box<dyn FnMut(&str, &Change) + Send>;

/// The server: what it keeps, and who wants to know of changes.
pub struct Server {
    store: Mutex<Store>,
    changed: Notify,
    eye: Mutex<Option<Eye>>,
}

impl Server {
    /// An empty one; uids come from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(Store::new(seed)),
            changed: Notify::new(),
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

    /// Waits for a version other than `seen`. Wakes whoever waits in the order in which they came: a
    /// channel of tokio's would choose by chance.
    pub async fn changed(&self, seen: u64) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.store().version() != seen {
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
    ) -> Result<(Option<Deed>, Arc<Value>), Refusal> {
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
            self.changed.notify_waiters();
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

    fn read(&self, asked: &Asked) -> Result<Value, Refusal> {
        let store = self.store();
        match asked {
            Asked::Get(place, sub) => {
                let object = store
                    .get(place)
                    .ok_or_else(|| Refusal::new(404, format!("{place} not found")))?;
                Ok(match sub {
                    Sub::Whole | Sub::Status => Value::clone(&object),
                    Sub::Scale => scale_of(place, &object),
                })
            }
            Asked::List(selection) => Ok(list(&store, selection)),
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
        let doing = Doing::of_api(&asked_as(&asked), &head.uri, asked.is_write());
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
                    whole(if deed == Some(Deed::Added) { 201 } else { 200 }, &object)
                })
            }
            Asked::Get(..) | Asked::List(_) => {
                self.server.read(&asked).map(|read| whole(200, &read))
            }
        };
        let code = answer
            .as_ref()
            .map_or_else(|refusal| refusal.code, |answer| answer.status().as_u16());
        if self
            .net
            .leave(&self.part, passage, &code.to_string())
            .await
            .is_err()
        {
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

fn asked_as(asked: &Asked) -> String {
    match asked {
        Asked::Get(..) => "get".to_owned(),
        Asked::List(_) => "list".to_owned(),
        Asked::Watch(..) => "watch".to_owned(),
        Asked::Write(verb, _, sub, _) => match sub {
            Sub::Whole => format!("{verb:?}").to_lowercase(),
            Sub::Status | Sub::Scale => format!("{verb:?} {sub:?}").to_lowercase(),
        },
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
            !text(body, "/preconditions/uid").is_empty()
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

fn whole(code: u16, body: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(Bytes::from(body.to_string()))));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let mut response = whole(refusal.code, &refusal.status());
    if let Some(seconds) = refusal.retry_after {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, http::HeaderValue::from(seconds));
    }
    response
}
