//! Rights of this executor that the API server refused, told by /readyz until they are back.
//!
//! Decides when a right counts as missing: from a refusal until the server, asked now and then, says that it is there.
//! A policy or a quota that refuses is none, and a tenant's Secrets are that tenant's affair.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use signalbox_common::health::Check;
use signalbox_common::json;
use signalbox_common::kinds::Kind;
use signalbox_common::part;

use super::Target;
use crate::error::ActionError;

/// How often it is asked whether a right is back.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// Where it is asked; everybody may.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// Rights that were refused; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Rights(Option<Arc<Told>>);

struct Told {
    client: kube::Client,
    check: Check,
    /// By verb and resource, with the server's words.
    missing: Mutex<BTreeMap<String, String>>,
}

impl Rights {
    /// Told by `check`, asked for with `client`.
    pub(crate) fn told_by(check: Check, client: kube::Client) -> Self {
        check.ok();
        Self(Some(Arc::new(Told {
            client,
            check,
            missing: Mutex::default(),
        })))
    }

    /// What a request about `target` was refused with.
    pub(crate) fn note(&self, target: &Target, refusal: &ActionError) {
        let Some(told) = &self.0 else { return };
        let Some(lost) = missing(refusal).filter(|_| target.kind != "Secret") else {
            return;
        };
        let (verb, target) = match lost {
            Lost::Verb(verb) => (verb, target.clone()),
            Lost::OwnersFinalizers => {
                let owner = Target::object(Kind::PortfolioApp, &target.namespace, "");
                ("update", owner.sub("finalizers"))
            }
        };
        let right = format!("{verb} {}", target.resource());
        if told.change(|missing| missing.insert(right.clone(), refusal.to_string()).is_none()) {
            let review = target.review(verb);
            part::spawn(Arc::clone(told).ask(right, review));
        }
    }
}

impl Told {
    /// Changes what is missing, and tells it.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, String>) -> T) -> T {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut missing);
        match missing.iter().next() {
            None => self.check.ok(),
            Some((right, why)) => {
                let rest = missing.len() - 1;
                self.check
                    .fail(format!("forbidden: {right}, and {rest} more: {why}"));
            }
        }
        changed
    }

    /// Asks until the right is back.
    async fn ask(self: Arc<Self>, right: String, review: Value) {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            if self.is_back(&review).await.unwrap_or(false) {
                self.change(|missing| missing.remove(&right));
                return;
            }
        }
    }

    async fn is_back(&self, review: &Value) -> Option<bool> {
        let request = Request::post(REVIEWS)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(json::text(review)))
            .ok()?;
        let asked = async {
            let answer = self.client.send(request).await.ok()?;
            answer.into_body().collect_bytes().await.ok()
        };
        let answer = tokio::time::timeout(super::REQUEST_TIME, asked)
            .await
            .ok()??;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        answer.pointer("/status/allowed")?.as_bool()
    }
}

impl Target {
    /// The question whether `verb` may be done to it.
    fn review(&self, verb: &str) -> Value {
        let resource = self.resource();
        let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
        json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": self.namespace, "verb": verb, "group": self.group(),
                "resource": resource, "subresource": subresource, "name": self.name,
            } },
        })
    }
}

/// What a refusal tells to be missing.
#[derive(Debug, PartialEq, Eq)]
enum Lost<'a> {
    /// The right to do this to what was asked for.
    Verb(&'a str),
    /// A child may hold up its owner's deletion only for whom may update the owner's finalizers: apps alone have such
    /// children.
    OwnersFinalizers,
}

/// None if a policy, a quota or anything else refuses.
fn missing(err: &ActionError) -> Option<Lost<'_>> {
    let (_, rest) = err.message.split_once(" cannot ")?;
    if err.code != Some(403) {
        return None;
    }
    if rest.starts_with("set blockOwnerDeletion ") {
        return Some(Lost::OwnersFinalizers);
    }
    let (verb, _) = rest.split_once(" resource ")?;
    Some(Lost::Verb(verb))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_right_is_missing_not_what_a_quota_refuses() {
        let refused = |message| {
            let err = ActionError::from_status("patch services web", "team-a", 403, message, None);
            missing(&err).map(|lost| format!("{lost:?}"))
        };
        let right = r#"User "executor" cannot create resource "services" in API group """#;
        assert_eq!(refused(right).as_deref(), Some(r#"Verb("create")"#));
        assert_eq!(refused("exceeded quota: none"), None);
        let owner = "services \"web\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a \
                     resource you can't set finalizers on: , <nil>";
        assert_eq!(refused(owner).as_deref(), Some("OwnersFinalizers"));
        let target = Target::lease("team-a", "step").sub("status");
        let asked = &target.review("patch")["spec"]["resourceAttributes"];
        assert_eq!(asked["group"], "coordination.k8s.io");
        assert_eq!(
            (&asked["resource"], &asked["subresource"]),
            (&json!("leases"), &json!("status"))
        );
    }
}
