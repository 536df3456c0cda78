//! Observations: everything that the planner may know of one object now, from caches and queue alone.
//!
//! Decides what goes into an Event and what is too large for one; never asks the API server.

use jiff::Timestamp;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::{Cause, Event, LiveObject, MAX_MESSAGE_BYTES, Observation};

use crate::cache::Cache;
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
pub(crate) fn event(view: View<'_>, wanted: Wanted<'_>) -> Option<Vec<u8>> {
    let mut event = Event::new(observe(view, wanted)?);
    let body = serde_json::to_vec(&event).ok()?;
    if body.len() <= MAX_MESSAGE_BYTES {
        return Some(body);
    }
    let observation = &mut event.observation;
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
    serde_json::to_vec(&event).ok()
}

fn observe(view: View<'_>, wanted: Wanted<'_>) -> Option<Observation> {
    let View {
        cache,
        queue,
        sources,
        ..
    } = view;
    let Wanted {
        key,
        id,
        cause,
        gone,
        conflict,
    } = wanted;
    let cached = cache.object(key);
    let uid = cached.map(|object| &*object.uid).or(gone)?.to_owned();
    let mut object = cached.and_then(crate::cache::custom::Custom::live);
    let mut children: Vec<LiveObject> = cache
        .children_of(&uid)
        .filter_map(crate::cache::Child::live)
        .collect();
    if let Some(conflict) = conflict {
        add_conflict(conflict, &mut object, &mut children);
    }
    let live = |other: &ObjectKey| cache.object(other)?.live();
    Some(Observation {
        reconcile_id: id,
        cluster: view.cluster.to_owned(),
        key: key.clone(),
        uid,
        observed_at: view.clock,
        cause,
        object,
        children,
        linked: cache.linked(key).iter().filter_map(live).collect(),
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
