//! What the server keeps: objects, one growing version, the log that watches read.
//!
//! Pure and synchronous: a request is done at once or not at all. Time comes in. Decides versions, uids,
//! generations, and when an object is gone; knows nothing of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_crds::{DatabaseMigrationStatus, PortfolioAppStatus};
use uuid::Uuid;

use super::json::{number, set_metadata, text, without};
pub use super::kept::Kept;
use super::kinds::Resource;
use super::refusal::Refusal;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its resource.
    pub resource: &'static Resource,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Place {
    /// The place of an object of a known kind.
    #[must_use]
    pub fn of(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        Some(Self {
            resource: Resource::of_kind(kind)?,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.resource.kind, self.namespace, self.name)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One entry of the log.
#[derive(Debug)]
pub struct Change {
    /// Version that it made.
    pub version: u64,
    /// Where.
    pub place: Place,
    /// What.
    pub deed: Deed,
    /// The object after it; for a deletion its last state.
    pub object: Arc<Kept>,
    /// The object before it.
    pub before: Option<Arc<Kept>>,
}

/// An object and what the one manager of ours has applied to it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) object: Arc<Kept>,
    pub(super) applied: Option<Arc<Value>>,
}

/// The server's memory.
#[derive(Debug)]
pub struct Store {
    pub(super) objects: BTreeMap<Place, Stored>,
    living: BTreeSet<String>,
    log: Vec<Arc<Change>>,
    /// The last version of each kind that has one.
    newest: BTreeMap<&'static str, u64>,
    /// The same when the log was forgotten.
    forgotten: BTreeMap<&'static str, u64>,
    version: u64,
    compacted: u64,
    uids: u64,
    seed: u64,
}

impl Store {
    /// An empty one; uids come from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            living: BTreeSet::new(),
            log: Vec::new(),
            newest: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            // A fresh cluster has written a lot already; "1" is never an object's version.
            version: 100,
            compacted: 0,
            uids: 0,
            seed,
        }
    }

    /// The newest version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The version of the last change of a kind.
    #[must_use]
    pub fn newest(&self, kind: &str) -> u64 {
        self.newest.get(kind).copied().unwrap_or(0)
    }

    /// The oldest version from which a watch may begin.
    #[must_use]
    pub const fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Forgets the log so far: watches that begin before are 410.
    pub fn compact(&mut self) {
        self.compacted = self.version;
        self.forgotten.clone_from(&self.newest);
        self.log.clear();
    }

    /// Whether changes of a kind after a version are forgotten.
    #[must_use]
    pub fn forgot(&self, kind: &str, version: u64) -> bool {
        self.forgotten.get(kind).is_some_and(|lost| version < *lost)
    }

    /// What happened after a version, in order.
    #[must_use]
    pub fn since(&self, version: u64) -> &[Arc<Change>] {
        let start = self.log.partition_point(|change| change.version <= version);
        self.log.get(start..).unwrap_or_default()
    }

    /// An object.
    #[must_use]
    pub fn get(&self, place: &Place) -> Option<Arc<Kept>> {
        self.objects.get(place).map(|stored| stored.object.clone())
    }

    /// All objects of a resource.
    pub fn all(&self, resource: &'static Resource) -> impl Iterator<Item = (&Place, &Arc<Kept>)> {
        let first = Place {
            resource,
            namespace: String::new(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(move |(place, _)| place.resource == resource)
            .map(|(place, stored)| (place, &stored.object))
    }

    /// All objects.
    pub fn everything(&self) -> impl Iterator<Item = (&Place, &Arc<Kept>)> {
        self.objects
            .iter()
            .map(|(place, stored)| (place, &stored.object))
    }

    /// Whether an object has owners, of which none is there any more.
    #[must_use]
    pub fn is_orphan(&self, object: &Value) -> bool {
        let owners = object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        let owners = owners.map(Vec::as_slice).unwrap_or_default();
        let lives = |owner: &Value| self.living.contains(text(owner, "/uid"));
        !owners.is_empty() && !owners.iter().any(lives)
    }

    /// Stores a new object.
    pub(super) fn create(
        &mut self,
        place: &Place,
        mut object: Value,
        applied: Option<Value>,
        now: Timestamp,
    ) -> Arc<Kept> {
        self.uids += 1;
        let uid = Uuid::new_v5(
            &Uuid::from_u64_pair(self.seed, 0),
            self.uids.to_string().as_bytes(),
        );
        self.living.insert(uid.to_string());
        set_metadata(&mut object, "uid", json!(uid.to_string()));
        set_metadata(&mut object, "namespace", json!(place.namespace));
        set_metadata(&mut object, "creationTimestamp", json!(seconds(now)));
        set_metadata(&mut object, "deletionTimestamp", Value::Null);
        if place.resource.generation {
            set_metadata(&mut object, "generation", json!(1));
        }
        if place.resource.status {
            object = without(&object, &["status"]);
        }
        if let (true, Some(fields)) = (place.resource.custom, object.as_object_mut()) {
            fields.insert("status".to_owned(), untouched(place.resource.kind));
        }
        self.put(place, object, applied.map(Arc::new), Deed::Added)
    }

    /// Stores a changed object, unless nothing changed; `bumps` if a change of it is one of its wish.
    pub(super) fn update(
        &mut self,
        place: &Place,
        mut object: Value,
        applied: Option<Arc<Value>>,
    ) -> Result<Arc<Kept>, Refusal> {
        let Some(stored) = self.objects.get_mut(place) else {
            return Err(Refusal::new(404, format!("{place} not found")));
        };
        let old = stored.object.clone();
        if terminating(&old) {
            let added = finalizers(&object)
                .iter()
                .any(|name| !finalizers(&old).contains(name));
            if added {
                let message =
                    format!("{place}: no new finalizers can be added if it is being deleted");
                return Err(Refusal::new(422, message));
            }
        }
        let mut generation = number(&old, "/metadata/generation").unwrap_or(0);
        if place.resource.generation {
            generation += i64::from(!same_wish(&object, &old));
            set_metadata(&mut object, "generation", json!(generation));
        }
        for kept in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "resourceVersion",
        ] {
            let value = old.pointer(&format!("/metadata/{kept}")).cloned();
            set_metadata(&mut object, kept, value.unwrap_or(Value::Null));
        }
        set_metadata(&mut object, "managedFields", Value::Null);
        stored.applied = applied;
        if object == **old {
            return Ok(old);
        }
        let applied = stored.applied.clone();
        if terminating(&object) && finalizers(&object).is_empty() {
            return Ok(self.remove(place, Some(object)));
        }
        Ok(self.put(place, object, applied, Deed::Modified))
    }

    /// Deletes an object, or marks it while finalizers hold it.
    pub(super) fn delete(&mut self, place: &Place, now: Timestamp) -> Result<Arc<Kept>, Refusal> {
        let Some(stored) = self.objects.get(place) else {
            return Err(Refusal::new(404, format!("{place} not found")));
        };
        if finalizers(&stored.object).is_empty() {
            return Ok(self.remove(place, None));
        }
        if terminating(&stored.object) {
            return Ok(stored.object.clone());
        }
        let mut object = Value::clone(&stored.object);
        let applied = stored.applied.clone();
        set_metadata(&mut object, "deletionTimestamp", json!(seconds(now)));
        set_metadata(&mut object, "deletionGracePeriodSeconds", json!(0));
        if let Some(generation) = number(&object, "/metadata/generation") {
            set_metadata(&mut object, "generation", json!(generation + 1));
        }
        Ok(self.put(place, object, applied, Deed::Modified))
    }

    fn put(
        &mut self,
        place: &Place,
        mut object: Value,
        applied: Option<Arc<Value>>,
        deed: Deed,
    ) -> Arc<Kept> {
        self.version += 1;
        set_metadata(
            &mut object,
            "resourceVersion",
            json!(self.version.to_string()),
        );
        let object = Kept::new(object);
        let stored = Stored {
            object: object.clone(),
            applied,
        };
        let before = self.objects.insert(place.clone(), stored);
        self.log(place, deed, object.clone(), before);
        object
    }

    fn remove(&mut self, place: &Place, last: Option<Value>) -> Arc<Kept> {
        self.version += 1;
        let before = self.objects.remove(place);
        if let Some(stored) = &before {
            self.living.remove(text(&stored.object, "/metadata/uid"));
        }
        let mut object = last
            .or_else(|| before.as_ref().map(|stored| Value::clone(&stored.object)))
            .unwrap_or_default();
        set_metadata(
            &mut object,
            "resourceVersion",
            json!(self.version.to_string()),
        );
        let object = Kept::new(object);
        self.log(place, Deed::Deleted, object.clone(), before);
        object
    }

    fn log(&mut self, place: &Place, deed: Deed, object: Arc<Kept>, before: Option<Stored>) {
        self.newest.insert(place.resource.kind, self.version);
        self.log.push(Arc::new(Change {
            version: self.version,
            place: place.clone(),
            deed,
            object,
            before: before.map(|stored| stored.object),
        }));
    }
}

/// The status that the CRDs of ours give a new object.
fn untouched(kind: &str) -> Value {
    let status = if kind == "PortfolioApp" {
        serde_json::to_value(PortfolioAppStatus::default())
    } else {
        serde_json::to_value(DatabaseMigrationStatus::default())
    };
    let mut status = status.unwrap_or_default();
    if let Some(fields) = status.as_object_mut() {
        fields.insert("observedGeneration".to_owned(), json!(-1));
    }
    status
}

/// Whether two versions of an object differ in nothing that people ask for.
fn same_wish(one: &Value, other: &Value) -> bool {
    let told = |name: &str| name == "metadata" || name == "status";
    let (Some(first), Some(second)) = (one.as_object(), other.as_object()) else {
        return one == other;
    };
    let wishes =
        |object: &serde_json::Map<String, Value>| object.keys().filter(|name| !told(name)).count();
    wishes(first) == wishes(second)
        && first
            .iter()
            .filter(|(name, _)| !told(name))
            .all(|(name, value)| second.get(name) == Some(value))
}

/// A time as the server writes it.
fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether it is going away.
#[must_use]
pub fn terminating(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some()
}

fn finalizers(object: &Value) -> Vec<&str> {
    let list = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}
