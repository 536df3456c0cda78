//! What the watches tell: into the caches, and what is news into the queue.

use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::{Cause, LiveObject};

use super::{Brain, Phase};
use crate::cache::custom::Custom;
use crate::cache::leases::LeaseSeen;
use crate::cache::{Child, ChildKey, news};
use crate::queue::{Change, Priority};
use crate::watch::{Body, Item, Source, Told};

impl Brain {
    pub(super) fn told(&mut self, source: Source, told: Told) {
        match told {
            Told::Init => self.sources.begin(source),
            Told::Listed(item) | Told::Applied(item) => {
                self.sources.name(source, &item.namespace, &item.name);
                self.put(source, item);
            }
            Told::InitDone => {
                self.complete(source);
                self.look_if_filled();
            }
            Told::Deleted(item) => self.remove(source, &item.namespace, &item.name),
            Told::Failed(trouble) => {
                let now = self.now();
                self.sources.fail(source, trouble, now);
            }
            Told::Well => {
                self.sources.well(source);
                self.excuse_leases(source);
            }
        }
    }

    /// While the Lease watch did not run, no renewal could be seen.
    fn excuse_leases(&mut self, source: Source) {
        if source == Source::Leases {
            let now = self.now();
            self.cache.leases.excuse(now);
        }
    }

    /// A list is complete: what it did not name is gone, whether the watch told or not.
    fn complete(&mut self, source: Source) {
        let names = self.sources.complete(source);
        match source {
            Source::Custom(kind) => {
                for key in self.cache.objects_missing(kind, &names) {
                    self.remove(source, &key.namespace, &key.name);
                }
            }
            Source::Child(kind) => {
                for key in self.cache.children_missing(kind, &names) {
                    self.remove(source, &key.namespace, &key.name);
                }
                for (owner, name) in self.conflicts.listed(kind.as_str(), &names) {
                    let kind = kind.as_str().to_owned();
                    let cause = Cause::Child { kind, name };
                    self.changed(&owner, Change::news(cause, Priority::Drift));
                }
            }
            Source::Leases => {
                for (namespace, name) in self.cache.leases.missing(&names) {
                    self.remove(source, &namespace, &name);
                }
                self.excuse_leases(source);
            }
        }
    }

    fn put(&mut self, source: Source, item: Item) {
        match (source, item.body) {
            (Source::Custom(kind), Body::Object(live)) => {
                self.put_object(kind, &item.namespace, &live);
            }
            (Source::Child(kind), Body::Object(live)) => {
                self.put_child(kind, &item.namespace, &live);
            }
            (Source::Leases, Body::Lease(lease)) => self.put_lease(&item.namespace, lease),
            (Source::Custom(_) | Source::Child(_), Body::Lease(_))
            | (Source::Leases, Body::Object(_)) => {}
        }
    }

    fn remove(&mut self, source: Source, namespace: &str, name: &str) {
        match source {
            Source::Custom(kind) => self.remove_object(&ObjectKey::new(kind, namespace, name)),
            Source::Child(kind) => self.remove_child(&ChildKey {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            Source::Leases => {
                if let Some((uid, owners)) = self.cache.leases.remove(namespace, name) {
                    self.observed(&uid, None);
                    self.lease_news(name, &owners);
                }
            }
        }
    }

    fn put_object(&mut self, kind: Kind, namespace: &str, live: &LiveObject) {
        let key = ObjectKey::new(kind, namespace, live.name.as_str());
        let after = Custom::new(kind, namespace, live);
        let (uid, version) = (after.uid.clone(), after.version);
        let before = self.cache.put_object(&key, after);
        self.gone.remove(&key);
        if before.as_ref().is_some_and(|before| before.uid != uid) {
            self.conflicts.forget(&key);
        }
        self.observed(&uid, Some(version));
        if self.phase != Phase::Active {
            return;
        }
        let Some(after) = self.cache.object(&key) else {
            return;
        };
        let change = news::of_object(before.as_ref(), after);
        let link = news::of_link(kind.as_str(), &key.name, before.as_ref(), Some(after));
        let wake = after.next_wake;
        // The same time does not ring twice.
        if before.as_ref().and_then(|before| before.next_wake) != wake {
            let at = wake.map(|wake| self.at(wake));
            self.queue.wake(&key, at);
        }
        if let Some(change) = change {
            self.changed(&key, change);
        }
        self.link_news(&key, before.as_ref(), link);
    }

    fn remove_object(&mut self, key: &ObjectKey) {
        let linked = self.cache.linked(key);
        let Some(before) = self.cache.remove_object(key) else {
            return;
        };
        self.observed(&before.uid, None);
        self.conflicts.forget(key);
        if self.phase != Phase::Active {
            return;
        }
        self.gone.insert(key.clone(), before.uid.to_string());
        self.queue.wake(key, None);
        self.changed(key, Change::news(Cause::Gone, Priority::Drift));
        let link = news::of_link(key.kind.as_str(), &key.name, Some(&before), None);
        for other in linked {
            if let Some(link) = link.clone().filter(|_| self.cache.object(&other).is_some()) {
                self.changed(&other, link);
            }
        }
    }

    fn link_news(&mut self, key: &ObjectKey, before: Option<&Custom>, change: Option<Change>) {
        let Some(change) = change else { return };
        let mut linked = self.cache.linked(key);
        linked.extend(
            before
                .into_iter()
                .flat_map(|before| before.links.iter().cloned()),
        );
        for other in linked {
            if self.cache.object(&other).is_some() {
                self.changed(&other, change.clone());
            }
        }
    }

    fn put_child(&mut self, kind: ChildKind, namespace: &str, live: &LiveObject) {
        let key = ChildKey {
            kind,
            namespace: namespace.to_owned(),
            name: live.name.clone(),
        };
        let after = Child::new(live);
        let (uid, version) = (after.uid.clone(), after.version);
        let before = self.cache.child(&key);
        let change = news::of_child(kind.as_str(), &live.name, before, Some(&after));
        let mut owners = self.cache.owners_of(&after);
        if let Some(before) = before {
            owners.extend(self.cache.owners_of(before));
        }
        owners.sort();
        owners.dedup();
        self.cache.put_child(key, after);
        self.observed(&uid, Some(version));
        for owner in owners {
            self.conflicts.cached(&owner, &uid);
            if let Some(change) = change.clone() {
                self.changed(&owner, change);
            }
        }
    }

    fn remove_child(&mut self, key: &ChildKey) {
        let Some(before) = self.cache.remove_child(key) else {
            return;
        };
        self.observed(&before.uid, None);
        let change = news::of_child(key.kind.as_str(), &key.name, Some(&before), None);
        for owner in self.cache.owners_of(&before) {
            self.conflicts.cached(&owner, &before.uid);
            if let Some(change) = change.clone() {
                self.changed(&owner, change);
            }
        }
    }

    fn put_lease(&mut self, namespace: &str, lease: LeaseSeen) {
        let now = self.now();
        let (name, uid) = (lease.name.clone(), lease.uid.clone());
        let owners = self.cache.leases.put(namespace, lease, now);
        self.observed(&uid, self.cache.leases.version_of(&uid));
        self.lease_news(&name, &owners);
    }

    /// A Lease came, went, ended or changed hands.
    pub(super) fn lease_news(&mut self, name: &str, owners: &[String]) {
        for owner in owners {
            let Some(key) = self.cache.key_of(owner).cloned() else {
                continue;
            };
            let cause = Cause::Child {
                kind: "Lease".to_owned(),
                name: name.to_owned(),
            };
            self.changed(&key, Change::news(cause, Priority::Drift));
        }
    }

    fn observed(&mut self, uid: &str, version: Option<u64>) {
        let now = self.now();
        self.queue.observed(uid, version, now);
    }

    /// News for the queue; before this watcher is active every object will be dirty anyway.
    pub(super) fn changed(&mut self, key: &ObjectKey, change: Change) {
        if self.phase == Phase::Active {
            let now = self.now();
            tracing::trace!(%key, ?change, "changed");
            self.queue.changed(key, change, now);
        }
    }
}
