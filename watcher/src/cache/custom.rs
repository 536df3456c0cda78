//! A custom resource, compact: its trimmed text, and what the watcher itself looks at.

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::{Kind, LINKS};
use signalbox_common::wire::LiveObject;
use signalbox_crds::names::{ANNOTATION_COMMAND, ANNOTATION_TRIGGER_TIME};

use super::{Text, Uid, hash_of, hashes, text};
use crate::queue::number;

/// A claim that an executor holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenClaim {
    /// Name of the step's Lease.
    pub lease: Box<str>,
    /// Who holds it.
    pub executor: Box<str>,
}

/// A custom resource, compact.
#[derive(Clone, Debug)]
pub struct Custom {
    json: Text,
    /// Uid.
    pub uid: Uid,
    /// Resource version.
    pub version: u64,
    /// Generation.
    pub generation: i64,
    /// `status.observedGeneration`; -1: never planned.
    pub observed: i64,
    /// It has a deletionTimestamp.
    pub deleting: bool,
    /// The command annotation.
    pub command: Option<Box<str>>,
    /// Time of the trigger that last changed its spec.
    pub trigger_time: Option<Timestamp>,
    /// Hash of everything but the status.
    pub meat: u64,
    /// Hash of the status.
    pub status: u64,
    /// Hash of what executors resolved into the status for the next plan.
    pub resolved: u64,
    /// Hash of the claims.
    pub claims: u64,
    /// When to look again.
    pub next_wake: Option<Timestamp>,
    /// Claims that are open.
    pub open: Box<[OpenClaim]>,
    /// The objects that its spec names.
    pub links: Box<[ObjectKey]>,
}

impl Custom {
    /// From a trimmed object.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, live: &LiveObject) -> Self {
        let (meat, status) = hashes(live);
        let wake = live.at("/status/nextWake").and_then(Value::as_str);
        let trigger_time = live.annotations.get(ANNOTATION_TRIGGER_TIME);
        Self {
            json: text(live),
            uid: live.uid.as_str().into(),
            version: number(&live.resource_version),
            generation: live.generation.unwrap_or(0),
            observed: live
                .at("/status/observedGeneration")
                .and_then(Value::as_i64)
                .unwrap_or(-1),
            deleting: live.deleted_at.is_some(),
            command: live
                .annotations
                .get(ANNOTATION_COMMAND)
                .map(|text| text.as_str().into()),
            trigger_time: trigger_time.and_then(|time| time.parse().ok()),
            meat,
            status,
            resolved: hash_of(live.at("/status/references")) ^ hash_of(live.at("/status/source")),
            claims: hash_of(live.at("/status/claims")),
            next_wake: wake.and_then(|time| time.parse().ok()),
            open: open_claims(live),
            links: links(kind, namespace, live),
        }
    }

    /// The trimmed object, as it goes into an Event.
    #[must_use]
    pub fn text(&self) -> Option<&RawValue> {
        self.json.as_deref()
    }

    /// Whether a start or a takeover serves it before the settled ones.
    #[must_use]
    pub fn is_unfinished(&self, now: Timestamp) -> bool {
        let due = self.next_wake.is_some_and(|wake| wake <= now);
        self.deleting || self.observed != self.generation || !self.open.is_empty() || due
    }
}

fn open_claims(live: &LiveObject) -> Box<[OpenClaim]> {
    let claims = live
        .at("/status/claims")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let text = |claim: &Value, field: &str| claim.get(field)?.as_str().map(Box::from);
    claims
        .filter(|(_, claim)| claim.get("state").and_then(Value::as_str) == Some("Running"))
        .filter_map(|(_, claim)| {
            let executor = text(claim, "executor").unwrap_or_default();
            Some(OpenClaim {
                lease: text(claim, "lease")?,
                executor,
            })
        })
        .collect()
}

fn links(kind: Kind, namespace: &str, live: &LiveObject) -> Box<[ObjectKey]> {
    let of_kind = LINKS.iter().filter(|link| link.from == kind);
    of_kind
        .filter_map(|link| {
            let name = live
                .at(link.pointer)?
                .as_str()
                .filter(|name| !name.is_empty())?;
            Some(ObjectKey::new(link.to, namespace, name))
        })
        .collect()
}
