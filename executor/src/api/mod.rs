//! The API server, as the executor calls it: JSON in and out, one try, behind every limit.
//!
//! Decides that each request waits for its place, has 5 s, passes the breaker and ends in an
//! [`ActionError`] with a class. Never tries a request again: that is for who knows what it rests on.

pub(crate) mod rights;
pub(crate) mod target;
mod waits;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request};
use kube::client::Body;
use serde_json::Value;
use signalbox_common::breaker::Guardian;
use signalbox_common::class::ErrorClass;
use signalbox_common::json;
use signalbox_common::wire::Full;
use tokio::time::Instant;

use rights::Rights;
pub(crate) use target::Target;
use waits::Waits;

use crate::error::ActionError;
use crate::limits::Limits;
use crate::metrics::ExecutorMetrics;
use crate::stop::Stop;

/// Longest `Retry-After` that is believed.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// Time of one request.
pub(crate) const REQUEST_TIME: Duration = Duration::from_secs(5);

/// A body of a write and how the server reads it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Write<'a> {
    /// Server-side apply under our manager, forced.
    Apply(&'a Value),
    /// JSON merge patch.
    Merge(&'a Value),
    /// The whole object.
    Put(&'a Value),
    /// A new object.
    Post(&'a Value),
    /// Deletion with its options.
    Delete(&'a Value),
}

impl Write<'_> {
    /// Verb of the right that it needs.
    const fn verb(self) -> &'static str {
        match self {
            Self::Apply(_) | Self::Merge(_) => "patch",
            Self::Put(_) => "update",
            Self::Post(_) => "create",
            Self::Delete(_) => "delete",
        }
    }

    fn request(self, target: &Target) -> Result<Request<Body>, http::Error> {
        let manager = format!("fieldManager={}", signalbox_crds::names::MANAGER);
        let object = target.path();
        let (method, uri, mime, body) = match self {
            Self::Apply(body) => (
                Method::PATCH,
                format!("{object}?{manager}&force=true"),
                "application/apply-patch+yaml",
                body,
            ),
            Self::Merge(body) => {
                let uri = format!("{object}?{manager}");
                (Method::PATCH, uri, "application/merge-patch+json", body)
            }
            Self::Put(body) => (
                Method::PUT,
                format!("{object}?{manager}"),
                "application/json",
                body,
            ),
            Self::Post(body) => {
                let uri = format!("{}?{manager}", target.collection());
                (Method::POST, uri, "application/json", body)
            }
            Self::Delete(body) => (Method::DELETE, object, "application/json", body),
        };
        Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::CONTENT_TYPE, mime)
            .header(http::header::ACCEPT, "application/json")
            .body(Body::from(json::text(body)))
    }
}

/// The API server behind limits, timeouts and breaker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    client: kube::Client,
    limits: Arc<Limits>,
    guardian: Arc<Guardian>,
    waits: Arc<Waits>,
    metrics: ExecutorMetrics,
    rights: Rights,
    stop: Stop,
}

impl Api {
    /// The API server behind `limits` and `guardian`.
    pub(crate) fn new(
        client: kube::Client,
        limits: Arc<Limits>,
        guardian: Arc<Guardian>,
        metrics: ExecutorMetrics,
    ) -> Self {
        Self {
            client,
            limits,
            guardian,
            waits: Arc::default(),
            metrics,
            rights: Rights::default(),
            stop: Stop::default(),
        }
    }

    /// The same, with rights that are missing told.
    pub(crate) fn telling(self, rights: Rights) -> Self {
        Self { rights, ..self }
    }

    /// The same for one plan or one long work: no further request after `stop`.
    pub(crate) fn until(&self, stop: Stop) -> Self {
        Self {
            stop,
            ..self.clone()
        }
    }

    /// Reads an object; none: there is no such object.
    pub(crate) async fn get(&self, target: &Target) -> Result<Option<Value>, ActionError> {
        let request = Request::builder()
            .uri(target.path())
            .header(http::header::ACCEPT, "application/json")
            .body(Body::from(Vec::new()));
        match self.send("get", target, request).await {
            Ok(object) => Ok(Some(object)),
            Err(err) if err.code == Some(404) => Ok(None),
            // A read has no effect that could have happened.
            Err(err) => Err(ActionError {
                unanswered: false,
                ..err
            }),
        }
    }

    /// Writes; the object as the server has it after the write.
    pub(crate) async fn write(
        &self,
        target: &Target,
        write: Write<'_>,
    ) -> Result<Value, ActionError> {
        self.send(write.verb(), target, write.request(target)).await
    }

    /// Whether one more try of a write may be made.
    pub(crate) fn may_retry(&self) -> bool {
        self.guardian.may_retry()
    }

    async fn send(
        &self,
        verb: &'static str,
        target: &Target,
        request: Result<Request<Body>, http::Error>,
    ) -> Result<Value, ActionError> {
        let what = target.what(verb);
        let request = request.map_err(|err| {
            ActionError::new(ErrorClass::Invalid, format!("failed to {what}: {err}"))
        })?;
        let _place = tokio::select! {
            biased;
            () = self.stop.stopped() => return Err(ActionError::stopped()),
            place = self.limits.acquire(&target.namespace) => place,
        };
        self.stop.check()?;
        let path = target.whole().path();
        if let Some(left) = self.waits.left(&path, Instant::now()) {
            return Err(ActionError {
                retry_after: Some(left),
                ..ActionError::new(
                    ErrorClass::Throttled,
                    format!("failed to {what}: the API server asked to wait"),
                )
            });
        }
        let ticket = self
            .guardian
            .admit(Instant::now())
            .map_err(|wait| ActionError {
                retry_after: Some(wait),
                ..ActionError::new(
                    ErrorClass::Throttled,
                    format!("failed to {what}: the API server failed too often, waiting"),
                )
            })?;
        let _in_flight = self.metrics.request_in_flight();
        let answer = tokio::time::timeout(REQUEST_TIME, self.exchange(&what, target, request));
        let answer = answer
            .await
            .unwrap_or_else(|_| Err(timed_out(&what, target)));
        ticket.report(
            Instant::now(),
            answer.as_ref().err().is_none_or(|err| !is_ill(err)),
        );
        self.metrics.request(verb, answer.as_ref().err());
        if let Err(err) = &answer {
            self.rights.note(target, err);
        }
        if let Some(wait) = answer.as_ref().err().and_then(|err| err.retry_after) {
            let now = Instant::now();
            self.waits.note(path, now + wait, now);
        }
        answer
    }

    async fn exchange(
        &self,
        what: &str,
        target: &Target,
        request: Request<Body>,
    ) -> Result<Value, ActionError> {
        let failed = |err| ActionError::from_kube(what, &target.namespace, &err);
        let response = self.client.send(request).await.map_err(failed)?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let body = response.into_body().collect_bytes().await.map_err(failed)?;
        if status.is_success() {
            let object = serde_json::from_slice(&body);
            return object
                .map(|Full(object)| object)
                .map_err(|err| ActionError {
                    unanswered: true,
                    ..ActionError::new(
                        ErrorClass::Transient,
                        format!("failed to {what}: the answer is no JSON: {err}"),
                    )
                });
        }
        let message = serde_json::from_slice::<Value>(&body).ok();
        let message = message
            .as_ref()
            .and_then(|m| m.get("message"))
            .and_then(Value::as_str);
        let message = message.unwrap_or("no reason given");
        Err(ActionError::from_status(
            what,
            &target.namespace,
            status.as_u16(),
            message,
            wait,
        ))
    }
}

fn timed_out(what: &str, target: &Target) -> ActionError {
    let seconds = REQUEST_TIME.as_secs();
    ActionError {
        unanswered: true,
        ..ActionError::new(
            ErrorClass::Transient,
            format!(
                "failed to {what} in namespace {}: no answer in {seconds} s",
                target.namespace
            ),
        )
    }
}

/// Whether an answer says that the server itself is ill.
fn is_ill(err: &ActionError) -> bool {
    err.unanswered || err.code.is_some_and(|code| code >= 500)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_and_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(retry_after(&headers), None);
        headers.insert(
            http::header::RETRY_AFTER,
            http::HeaderValue::from_static("7"),
        );
        assert_eq!(retry_after(&headers), Some(Duration::from_secs(7)));
        headers.insert(
            http::header::RETRY_AFTER,
            http::HeaderValue::from_static("99999"),
        );
        assert_eq!(retry_after(&headers), Some(LONGEST_WAIT));
    }
}
