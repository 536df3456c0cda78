//! What the API server holds, as far as Events need it: compact, never typed, one text an object.
//!
//! Decides what is stored and how it is found; never what a change means (see [`news`]).

pub mod custom;
pub mod leases;
pub mod news;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::LiveObject;
use signalbox_crds::names::LABEL_OWNER_UID;

use crate::queue::number;
use custom::Custom;
use leases::Leases;

/// A uid, held once however often it is noted: there are four objects for each app.
pub type Uid = Arc<str>;

/// A child by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildKey {
    /// Kind.
    pub kind: ChildKind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A child, compact.
#[derive(Clone, Debug)]
pub struct Child {
    /// The trimmed object as JSON.
    json: Text,
    /// Uid.
    pub uid: Uid,
    /// Resource version.
    pub version: u64,
    /// Uids of its owners.
    owners: Box<[Uid]>,
    /// Hash of everything but the status.
    pub meat: u64,
    /// Hash of the status.
    pub status: u64,
}

impl Child {
    /// From a trimmed object.
    #[must_use]
    pub fn new(live: &LiveObject) -> Self {
        let label = live.labels.get(LABEL_OWNER_UID);
        let owners = live.owners.iter().map(|owner| &owner.uid).chain(label);
        // Nearly always both name the same one.
        let owners: BTreeSet<&str> = owners.map(String::as_str).collect();
        let (meat, status) = hashes(live);
        Self {
            json: text(live),
            uid: live.uid.as_str().into(),
            version: number(&live.resource_version),
            owners: owners.into_iter().map(Uid::from).collect(),
            meat,
            status,
        }
    }
}

/// All caches.
#[derive(Debug, Default)]
pub struct Cache {
    objects: BTreeMap<ObjectKey, Custom>,
    by_uid: HashMap<Uid, ObjectKey>,
    /// Who names an object.
    named_by: HashMap<ObjectKey, BTreeSet<ObjectKey>>,
    children: BTreeMap<ChildKey, Child>,
    /// Children by the uid of an owner.
    owned: HashMap<Uid, BTreeSet<ChildKey>>,
    /// Newest version seen of everything that is there, by uid.
    versions: HashMap<Uid, u64>,
    /// Leases of steps.
    pub leases: Leases,
}

impl Cache {
    /// Stores a custom resource; returns what was there.
    pub fn put_object(&mut self, key: &ObjectKey, mut object: Custom) -> Option<Custom> {
        object.uid = self.held(&object.uid);
        self.versions.insert(object.uid.clone(), object.version);
        self.by_uid.insert(object.uid.clone(), key.clone());
        for link in &object.links {
            self.named_by
                .entry(link.clone())
                .or_default()
                .insert(key.clone());
        }
        let uid = object.uid.clone();
        let links: Vec<ObjectKey> = object.links.to_vec();
        let before = self.objects.insert(key.clone(), object)?;
        if before.uid != uid {
            self.by_uid.remove(&before.uid);
            self.versions.remove(&before.uid);
        }
        for link in before.links.iter().filter(|link| !links.contains(link)) {
            self.unlink(link, key);
        }
        Some(before)
    }

    /// An owner's uid as it is held already.
    fn held(&self, uid: &Uid) -> Uid {
        let of_object = self.by_uid.get_key_value(uid).map(|(held, _)| held);
        let of_children = || self.owned.get_key_value(uid).map(|(held, _)| held);
        of_object.or_else(of_children).unwrap_or(uid).clone()
    }

    /// Removes a custom resource; returns what was there.
    pub fn remove_object(&mut self, key: &ObjectKey) -> Option<Custom> {
        let before = self.objects.remove(key)?;
        self.by_uid.remove(&before.uid);
        self.versions.remove(&before.uid);
        for link in &before.links {
            self.unlink(link, key);
        }
        Some(before)
    }

    fn unlink(&mut self, named: &ObjectKey, by: &ObjectKey) {
        if let Some(names) = self.named_by.get_mut(named) {
            names.remove(by);
            if names.is_empty() {
                self.named_by.remove(named);
            }
        }
    }

    /// Stores a child.
    pub fn put_child(&mut self, key: ChildKey, mut child: Child) {
        self.remove_child(&key);
        for owner in &mut child.owners {
            *owner = self.held(owner);
        }
        self.versions.insert(child.uid.clone(), child.version);
        for owner in &child.owners {
            self.owned
                .entry(owner.clone())
                .or_default()
                .insert(key.clone());
        }
        self.children.insert(key, child);
    }

    /// Removes a child; returns what was there.
    pub fn remove_child(&mut self, key: &ChildKey) -> Option<Child> {
        let before = self.children.remove(key)?;
        self.versions.remove(&before.uid);
        for owner in &before.owners {
            if let Some(keys) = self.owned.get_mut(owner) {
                keys.remove(key);
                if keys.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
        Some(before)
    }

    /// A custom resource.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<&Custom> {
        self.objects.get(key)
    }

    /// All custom resources.
    pub fn objects(&self) -> impl Iterator<Item = (&ObjectKey, &Custom)> {
        self.objects.iter()
    }

    /// The custom resources that own a child.
    #[must_use]
    pub fn owners_of(&self, child: &Child) -> Vec<ObjectKey> {
        child
            .owners
            .iter()
            .filter_map(|uid| self.by_uid.get(uid).cloned())
            .collect()
    }

    /// The custom resource with this uid.
    #[must_use]
    pub fn key_of(&self, uid: &str) -> Option<&ObjectKey> {
        self.by_uid.get(uid)
    }

    /// Objects that name this one or that it names, by kind and name.
    #[must_use]
    pub fn linked(&self, key: &ObjectKey) -> BTreeSet<ObjectKey> {
        let names = self
            .objects
            .get(key)
            .into_iter()
            .flat_map(|object| object.links.iter());
        let named_by = self.named_by.get(key).into_iter().flatten();
        names
            .chain(named_by)
            .filter(|other| *other != key)
            .cloned()
            .collect()
    }

    /// A child.
    #[must_use]
    pub fn child(&self, key: &ChildKey) -> Option<&Child> {
        self.children.get(key)
    }

    /// The children of an owner, by kind in order of creation and name.
    pub fn children_of(&self, uid: &str) -> impl Iterator<Item = &Child> {
        self.owned
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|key| self.children.get(key))
    }

    /// The newest version seen of what has this uid; none: it is not there.
    #[must_use]
    pub fn version_of(&self, uid: &str) -> Option<u64> {
        self.versions
            .get(uid)
            .copied()
            .or_else(|| self.leases.version_of(uid))
    }

    /// Number of custom resources of a kind.
    #[must_use]
    pub fn count_objects(&self, kind: Kind) -> usize {
        self.objects.keys().filter(|key| key.kind == kind).count()
    }

    /// Number of children of a kind.
    #[must_use]
    pub fn count_children(&self, kind: ChildKind) -> usize {
        self.children.keys().filter(|key| key.kind == kind).count()
    }

    /// Custom resources of a kind that are not among `known`.
    #[must_use]
    pub fn objects_missing(&self, kind: Kind, known: &HashSet<(String, String)>) -> Vec<ObjectKey> {
        let of_kind = self.objects.keys().filter(|key| key.kind == kind);
        of_kind
            .filter(|key| !known.contains(&(key.namespace.clone(), key.name.clone())))
            .cloned()
            .collect()
    }

    /// Children of a kind that are not among `known`.
    #[must_use]
    pub fn children_missing(
        &self,
        kind: ChildKind,
        known: &HashSet<(String, String)>,
    ) -> Vec<ChildKey> {
        let of_kind = self.children.keys().filter(|key| key.kind == kind);
        of_kind
            .filter(|key| !known.contains(&(key.namespace.clone(), key.name.clone())))
            .cloned()
            .collect()
    }

    /// Uid and version of everything of one kind that is cached, by namespace and name.
    #[must_use]
    pub fn inventory(&self, source: crate::watch::Source) -> HashMap<(String, String), (Uid, u64)> {
        use crate::watch::Source;
        match source {
            Source::Custom(kind) => {
                let of_kind = self.objects.iter().filter(|(key, _)| key.kind == kind);
                of_kind
                    .map(|(key, object)| {
                        let name = (key.namespace.clone(), key.name.clone());
                        (name, (object.uid.clone(), object.version))
                    })
                    .collect()
            }
            Source::Child(kind) => {
                let of_kind = self.children.iter().filter(|(key, _)| key.kind == kind);
                of_kind
                    .map(|(key, child)| {
                        let name = (key.namespace.clone(), key.name.clone());
                        (name, (child.uid.clone(), child.version))
                    })
                    .collect()
            }
            Source::Leases => HashMap::new(),
        }
    }
}

/// The stored form of an object; none only if it could not be written.
type Text = Option<Box<RawValue>>;

fn text(live: &LiveObject) -> Text {
    to_raw_value(live).ok()
}

impl Child {
    /// The trimmed object, as it goes into an Event.
    #[must_use]
    pub fn text(&self) -> Option<&RawValue> {
        self.json.as_deref()
    }
}

/// Hash of everything but status and version, and hash of the status.
fn hashes(live: &LiveObject) -> (u64, u64) {
    let mut meat = DefaultHasher::new();
    live.labels.hash(&mut meat);
    live.annotations.hash(&mut meat);
    live.finalizers.hash(&mut meat);
    live.foreign.hash(&mut meat);
    live.deleted_at.is_some().hash(&mut meat);
    for owner in &live.owners {
        owner.uid.hash(&mut meat);
    }
    for (field, value) in live.content.as_object().into_iter().flatten() {
        if field != "status" {
            field.hash(&mut meat);
            hash_text(value, &mut meat);
        }
    }
    (meat.finish(), hash_of(live.content.get("status")))
}

fn hash_of(value: Option<&Value>) -> u64 {
    let mut hasher = DefaultHasher::new();
    if let Some(value) = value {
        hash_text(value, &mut hasher);
    }
    hasher.finish()
}

/// Hashes a value as its text, with an end like that of any text, without making it.
fn hash_text(value: &Value, hasher: &mut DefaultHasher) {
    struct Hashed<'a>(&'a mut DefaultHasher);
    impl std::io::Write for Hashed<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // Neither a hasher nor a value can fail.
    let _ = serde_json::to_writer(Hashed(&mut *hasher), value);
    // No text has this byte: what follows is never taken for more of it.
    hasher.write_u8(0xff);
}
