//! The app's children as the rules see them: revisions with their pods, and what stands in the way.
//!
//! Decides what of the Observation counts; never what should be.

use std::collections::BTreeMap;

use serde_json::Value;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::plan::{Expect, Guard, Test};
use signalbox_common::wire::{LiveObject, Observation};
use signalbox_crds::names::{
    ANNOTATION_INPUTS, LABEL_OWNER, LABEL_OWNER_KIND, LABEL_SERVES_PREFIX,
};

use super::children::OWNER_KIND;
use super::resolve::{App, Inputs, REVISION_LEN};

/// The children of one app.
pub(super) struct World<'a> {
    seen: &'a Observation,
    app: &'a str,
    uid: &'a str,
}

/// A revision of which something exists.
#[derive(Clone, Debug)]
pub(super) struct Revision<'a> {
    pub(super) hash: String,
    pub(super) deployment: Option<&'a LiveObject>,
    pub(super) config_map: Option<&'a LiveObject>,
}

impl<'a> World<'a> {
    pub(super) fn of(seen: &'a Observation, object: &'a LiveObject) -> Self {
        Self {
            seen,
            app: &object.name,
            uid: &object.uid,
        }
    }

    /// What bears the name, whoever owns it.
    pub(super) fn child(&self, kind: ChildKind, name: &str) -> Option<&'a LiveObject> {
        let named = |live: &&LiveObject| live.kind == kind.as_str() && live.name == name;
        let behind = self
            .seen
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.live.as_ref());
        self.seen.children.iter().find(named).or_else(|| {
            // Only a stranger: of what is ours the children tell, and its absence there is the news.
            behind
                .filter(named)
                .filter(|live| !live.is_owned_by(self.uid))
        })
    }

    /// What bears the name and is ours, or was until its owner reference was taken away.
    pub(super) fn own(&self, kind: ChildKind, name: &str) -> Option<&'a LiveObject> {
        self.child(kind, name)
            .filter(|live| live.is_owned_by(self.uid) || is_left_behind(live, self.app))
    }

    /// Whether it is nobody's and was made for an app of this name.
    pub(super) fn is_left_behind(&self, live: &LiveObject) -> bool {
        is_left_behind(live, self.app)
    }

    /// All own children.
    pub(super) fn own_children(&self) -> impl Iterator<Item = &'a LiveObject> {
        let uid = self.uid;
        self.seen
            .children
            .iter()
            .filter(move |live| live.is_owned_by(uid))
    }

    /// Revisions of which something exists, oldest first.
    pub(super) fn revisions(&self) -> Vec<Revision<'a>> {
        let mut found: BTreeMap<String, Revision<'a>> = BTreeMap::new();
        for live in self.own_children() {
            let Some(hash) = self.revision_in(&live.name) else {
                continue;
            };
            let (is_deployment, is_config) = (live.kind == "Deployment", live.kind == "ConfigMap");
            if !is_deployment && !is_config {
                continue;
            }
            let entry = found
                .entry(hash.to_owned())
                .or_insert_with(|| Revision::none(hash));
            if is_deployment {
                entry.deployment = Some(live);
            } else {
                entry.config_map = Some(live);
            }
        }
        let mut revisions: Vec<_> = found.into_values().collect();
        revisions.sort_by_key(|revision| (revision.created_at(), revision.hash.clone()));
        revisions
    }

    /// One revision, even if nothing of it exists.
    pub(super) fn revision(&self, hash: &str) -> Revision<'a> {
        let name = format!("{}-{hash}", self.app);
        Revision {
            hash: hash.to_owned(),
            deployment: self.own(ChildKind::Deployment, &name),
            config_map: self.own(ChildKind::ConfigMap, &name),
        }
    }

    /// When the first revision that is newer than `revision` (or came in the same second) was made.
    pub(super) fn left_at(&self, revision: &Revision<'_>) -> Option<jiff::Timestamp> {
        let own = revision.created_at()?;
        let others = self.revisions().into_iter();
        let newer = others.filter(|other| other.hash != revision.hash);
        let times = newer.filter_map(|other| other.created_at());
        times.filter(|at| *at >= own).min()
    }

    /// The revision hash in the name of a revision's child. Labels can be stripped; names can't.
    fn revision_in<'n>(&self, name: &'n str) -> Option<&'n str> {
        let hash = name.strip_prefix(self.app)?.strip_prefix('-')?;
        let is_hash = hash.len() == REVISION_LEN && hash.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then_some(hash)
    }

    /// The revision that the Service selects.
    pub(super) fn selected(&self) -> Option<String> {
        let selector = self
            .own(ChildKind::Service, self.app)?
            .at("/spec/selector")?
            .as_object()?;
        let mut served = selector
            .keys()
            .filter_map(|key| key.strip_prefix(LABEL_SERVES_PREFIX));
        served
            .next()
            .filter(|hash| hash.len() == REVISION_LEN)
            .map(str::to_owned)
    }

    /// Why a child kind can't be worked with, if so.
    pub(super) fn unserved(&self, kind: ChildKind) -> Option<String> {
        let word = kind.as_str();
        let is = |entry: &&String| entry.split([' ', ':', '/']).any(|part| part == word);
        if self.seen.absent.iter().any(|entry| is(&entry)) {
            return Some(format!("{word} is not served by this cluster"));
        }
        self.seen
            .blind
            .iter()
            .find(is)
            .map(|why| format!("{word} can't be watched: {why}"))
    }
}

impl Revision<'_> {
    fn none(hash: &str) -> Self {
        Self {
            hash: hash.to_owned(),
            deployment: None,
            config_map: None,
        }
    }

    /// Creation of its first child.
    pub(super) fn created_at(&self) -> Option<jiff::Timestamp> {
        [self.deployment, self.config_map]
            .into_iter()
            .flatten()
            .map(|live| live.created_at)
            .min()
    }

    fn count(&self, pointer: &str) -> i32 {
        let count = self.deployment.map_or(0, |live| live.count(pointer));
        i32::try_from(count).unwrap_or(i32::MAX)
    }

    /// Pods asked for; 0 without a Deployment.
    pub(super) fn asked(&self) -> i32 {
        let asked = self.deployment.and_then(|live| live.at("/spec/replicas"));
        match (self.deployment, asked.and_then(Value::as_i64)) {
            (None, _) => 0,
            (Some(_), None) => 1,
            (Some(_), Some(asked)) => i32::try_from(asked).unwrap_or(i32::MAX),
        }
    }

    /// Pods that serve.
    pub(super) fn available(&self) -> i32 {
        if self
            .deployment
            .is_some_and(|live| live.deleted_at.is_some())
        {
            return 0;
        }
        self.count("/status/availableReplicas")
    }

    pub(super) fn ready(&self) -> i32 {
        self.count("/status/readyReplicas")
    }

    /// Pods that exist.
    pub(super) fn pods(&self) -> i32 {
        self.count("/status/replicas")
    }

    /// Whether its status tells of its newest spec, and its pods are of its newest template.
    pub(super) fn is_current(&self) -> bool {
        self.deployment.is_some_and(|live| {
            live.deleted_at.is_none()
                && live.count("/status/observedGeneration") >= live.generation.unwrap_or(0)
        })
    }

    /// Whether it has no pods and asks for none.
    pub(super) fn is_empty(&self) -> bool {
        self.asked() == 0 && self.pods() == 0
    }

    /// A guard on its Deployment: `available` pods or more serve, as told of this generation or a newer one.
    pub(super) fn guard(&self, available: i32) -> Option<Guard> {
        let live = self.deployment?;
        let at_least = |pointer: &str, least: i64| Expect {
            pointer: pointer.to_owned(),
            test: Test::AtLeast(least),
        };
        Some(Guard {
            kind: ChildKind::Deployment.as_str().to_owned(),
            name: live.name.clone(),
            uid: live.uid.clone(),
            expect: vec![
                at_least("/status/availableReplicas", i64::from(available)),
                at_least("/status/observedGeneration", live.generation.unwrap_or(0)),
            ],
        })
    }

    /// Inputs and configuration of it: from the spec if it is the spec's, else as noted at its children,
    /// proven by the hash. None: nobody knows any more, so its template is left alone.
    pub(super) fn inputs(&self, app: &App<'_>) -> Option<(Inputs, BTreeMap<String, String>)> {
        if self.hash == app.revision {
            return Some((app.inputs.clone(), app.spec.config.clone()));
        }
        let config = self.config_map.map(own_data).unwrap_or_default();
        [self.config_map, self.deployment]
            .into_iter()
            .flatten()
            .find_map(|live| {
                let noted = live.annotations.get(ANNOTATION_INPUTS)?;
                let inputs: Inputs = serde_json::from_str(noted).ok()?;
                (inputs.revision(&config) == self.hash).then(|| (inputs, config.clone()))
            })
    }
}

/// Holds while it asks for no pods: a revision's Deployment, or the app itself.
pub(super) fn asks_for_none(live: &LiveObject) -> Guard {
    Guard {
        kind: live.kind.clone(),
        name: live.name.clone(),
        uid: live.uid.clone(),
        expect: vec![Expect {
            pointer: "/spec/replicas".to_owned(),
            test: Test::Equals(Value::from(0)),
        }],
    }
}

/// Whether it was made for an app of this name and is nobody's now: its owner reference was taken away, or an
/// earlier app left it behind.
fn is_left_behind(live: &LiveObject, app: &str) -> bool {
    let label = |key: &str| live.labels.get(key).map(String::as_str);
    live.owners.is_empty()
        && label(LABEL_OWNER_KIND) == Some(OWNER_KIND)
        && label(LABEL_OWNER) == Some(app)
}

/// The data of a `ConfigMap` without keys that somebody else added.
fn own_data(live: &LiveObject) -> BTreeMap<String, String> {
    let data = live.at("/data").cloned().unwrap_or_default();
    let mut data: BTreeMap<String, String> = serde_json::from_value(data).unwrap_or_default();
    data.retain(|key, _| {
        let field = format!("f:{key}");
        let is_foreign = |path: &Vec<String>| path.len() == 2 && path.last() == Some(&field);
        !live.foreign.iter().any(is_foreign)
    });
    data
}
