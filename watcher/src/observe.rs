//! Observations: everything that the planner may know of one object now, from caches and queue alone.
//!
//! Decides what goes into an Event and what is too large for one; never asks the API server.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::{Cause, Event, LiveObject, MAX_MESSAGE_BYTES, Observation};

use crate::cache::custom::Custom;
use crate::cache::{Cache, Child};
use crate::queue::{At, Queue, number};
use crate::sources::Sources;

/// What an Observation is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    /// Caches.
    pub(crate) cache: &'a Cache,
    /// Outcomes are remembered there.
    pub(crate) queue: &'a Queue,
    /// How the watches stand.
    pub(crate) sources: &'a Sources,
    /// Cluster, as in the subjects.
    pub(crate) cluster: &'a str,
    /// Time of the queue.
    pub(crate) now: At,
    /// Wall clock.
    pub(crate) clock: Timestamp,
}

/// One flight to be observed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    /// The object.
    pub(crate) key: &'a ObjectKey,
    /// Id of the flight.
    pub(crate) id: ReconcileId,
    /// Why it is sent.
    pub(crate) cause: Cause,
    /// Its last known uid, if it is gone.
    pub(crate) gone: Option<&'a str>,
    /// The live object behind its last conflict.
    pub(crate) conflict: Option<&'a LiveObject>,
}

/// The Event's body; none: nothing is known of the object, so there is nothing to send.
#[must_use]
pub(crate) fn event(view: View<'_>, wanted: &Wanted<'_>) -> Option<Vec<u8>> {
    if wanted.conflict.is_none() {
        // The caches' texts go as they are.
        let body = fitting(&Event::new(observe(view, wanted, Some)?));
        if body.is_some() {
            return body;
        }
    }
    let mut observation = observe(view, wanted, parsed)?;
    if let Some(conflict) = wanted.conflict {
        add_conflict(conflict, &mut observation.object, &mut observation.children);
    }
    let mut event = Event::new(observation);
    let body = fitting(&event);
    if body.is_some() {
        return body;
    }
    cut(&mut event.observation);
    serde_json::to_vec(&event).ok()
}

/// The body, if it is not too large.
fn fitting<L: Serialize>(event: &Event<L>) -> Option<Vec<u8>> {
    let body = serde_json::to_vec(event).ok()?;
    (body.len() <= MAX_MESSAGE_BYTES).then_some(body)
}

/// Leaves only metadata.
fn cut(observation: &mut Observation) {
    observation.too_large = true;
    observation.children.clear();
    observation.linked.clear();
    // Without the Outcome the plan could not know that its status is written, and would write it for ever.
    if let Some(outcome) = &mut observation.outcome {
        outcome.live = None;
    }
    if let Some(object) = &mut observation.object {
        object.content = serde_json::Value::Null;
        object.foreign.clear();
    }
}

fn parsed(text: &RawValue) -> Option<LiveObject> {
    serde_json::from_str(text.get()).ok()
}

/// The Observation, with what `read` makes of the caches' texts.
fn observe<'a, L>(
    view: View<'a>,
    wanted: &Wanted<'_>,
    read: impl Fn(&'a RawValue) -> Option<L>,
) -> Option<Observation<L>> {
    let View {
        cache,
        queue,
        sources,
        ..
    } = view;
    let key = wanted.key;
    let cached = cache.object(key);
    let uid = cached.map(|object| &*object.uid).or(wanted.gone)?;
    let live = |object: &'a Custom| read(object.text()?);
    let children = cache.children_of(uid).filter_map(Child::text);
    let linked = cache.linked(key);
    let linked = linked.iter().filter_map(|other| cache.object(other));
    Some(Observation {
        reconcile_id: wanted.id,
        cluster: view.cluster.to_owned(),
        key: key.clone(),
        uid: uid.to_owned(),
        observed_at: view.clock,
        cause: wanted.cause.clone(),
        object: cached.and_then(live),
        children: children.filter_map(&read).collect(),
        linked: linked.filter_map(live).collect(),
        leases: cached
            .map(|object| cache.leases.of(key, object))
            .unwrap_or_default(),
        outcome: queue.last_outcome(key).cloned().map(Box::new),
        interrupted: queue.interrupted(key),
        absent: sources.absent(),
        blind: sources.blind(view.now),
        too_large: false,
    })
}

/// Puts the live object behind a conflict where the plan looks for it, unless the caches know better.
fn add_conflict(
    conflict: &LiveObject,
    object: &mut Option<LiveObject>,
    children: &mut Vec<LiveObject>,
) {
    let newer = |known: &LiveObject| {
        known.uid == conflict.uid
            && number(&known.resource_version) < number(&conflict.resource_version)
    };
    if let Some(object) = object.as_mut().filter(|object| newer(object)) {
        *object = conflict.clone();
        return;
    }
    if let Some(child) = children.iter_mut().find(|child| newer(child)) {
        *child = conflict.clone();
        return;
    }
    if ChildKind::parse(&conflict.kind).is_none() {
        return;
    }
    let same_name = |child: &LiveObject| child.kind == conflict.kind && child.name == conflict.name;
    if children.iter().any(same_name) {
        return;
    }
    children.push(conflict.clone());
    children.sort_by(|a, b| {
        let order = |live: &LiveObject| ChildKind::parse(&live.kind);
        order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name))
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use signalbox_common::kinds::Kind;
    use signalbox_common::wire::decode;
    use signalbox_common::wire::trim::trim_as;
    use uuid::Uuid;

    use super::*;
    use crate::cache::ChildKey;

    fn live(kind: &str, name: &str, version: u64, spec: &Value) -> LiveObject {
        let object = json!({
            "metadata": {"name": name, "namespace": "shop", "uid": format!("{kind}-{name}"), "generation": 1,
                "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"b": "\u{e9}\"", "a": ""},
                "ownerReferences": [{"kind": "PortfolioApp", "name": "web", "uid": "PortfolioApp-web"}]},
            "spec": spec,
        });
        trim_as(kind, object).unwrap()
    }

    fn app(image: &str) -> LiveObject {
        let spec = json!({"image": image, "share": 0.1, "migrations": {"name": "schema"}});
        live("PortfolioApp", "web", 1, &spec)
    }

    fn deployment(version: u64) -> LiveObject {
        live("Deployment", "web-1", version, &json!({"replicas": 3}))
    }

    fn migration() -> LiveObject {
        live("DatabaseMigration", "schema", 1, &json!({"app": "web"}))
    }

    /// What the planner gets of an app with a Deployment and a migration.
    fn sent(app: &LiveObject, conflict: Option<&LiveObject>) -> Observation {
        let mut cache = Cache::default();
        let (kind, other) = (Kind::PortfolioApp, Kind::DatabaseMigration);
        let key = ObjectKey::new(kind, "shop", "web");
        cache.put_object(&key, Custom::new(kind, "shop", app));
        let link = ObjectKey::new(other, "shop", "schema");
        cache.put_object(&link, Custom::new(other, "shop", &migration()));
        let child = ChildKey {
            kind: ChildKind::Deployment,
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
        };
        cache.put_child(child, Child::new(&deployment(7)));
        let view = View {
            cache: &cache,
            queue: &Queue::default(),
            sources: &Sources::default(),
            cluster: "c",
            now: Duration::ZERO,
            clock: Timestamp::UNIX_EPOCH,
        };
        let wanted = Wanted {
            key: &key,
            id: ReconcileId(Uuid::nil()),
            cause: Cause::Resync,
            gone: None,
            conflict,
        };
        let body = event(view, &wanted).unwrap();
        let event: Event = decode(&body).unwrap();
        assert_eq!(serde_json::to_vec(&event).unwrap(), body, "one form");
        event.observation
    }

    #[test]
    fn what_is_cached_is_what_is_sent() {
        let seen = sent(&app("a:1"), None);
        assert_eq!(seen.object, Some(app("a:1")));
        assert_eq!(seen.children, [deployment(7)]);
        assert_eq!(seen.linked, [migration()]);
    }

    #[test]
    fn a_conflict_tells_what_the_caches_do_not_know_yet() {
        let stranger = live("ConfigMap", "web-1", 3, &json!({}));
        let seen = sent(&app("a:1"), Some(&stranger));
        assert_eq!(seen.children, [stranger, deployment(7)]);
        let newer = sent(&app("a:1"), Some(&deployment(8)));
        assert_eq!(newer.children, [deployment(8)]);
        let older = sent(&app("a:1"), Some(&deployment(6)));
        assert_eq!(older.children, [deployment(7)]);
    }

    #[test]
    fn of_what_is_too_large_only_metadata_goes() {
        let large = app(&"a".repeat(MAX_MESSAGE_BYTES));
        for conflict in [None, Some(&deployment(8))] {
            let seen = sent(&large, conflict);
            let object = seen.object.unwrap();
            assert!(seen.too_large && object.content.is_null());
            assert_eq!(object.labels, large.labels);
            assert!(seen.children.is_empty() && seen.linked.is_empty());
        }
    }
}
