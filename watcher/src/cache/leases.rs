//! Leases of steps, judged by the watcher's own clock.
//!
//! Decides when one has ended: not renewed for [`ENDED_AFTER`] while the watch could have told. Renewals
//! are no news.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use signalbox_common::id::ObjectKey;
use signalbox_common::wire::observation::StepLease;

use super::custom::Custom;
use crate::queue::{At, number};

/// A Lease that is not renewed for this long has ended.
pub const ENDED_AFTER: Duration = Duration::from_secs(6);

/// A Lease as the watch tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSeen {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Resource version.
    pub resource_version: String,
    /// Who holds it.
    pub holder: String,
    /// Uids of its owners.
    pub owners: Vec<String>,
}

#[derive(Debug)]
struct Held {
    lease: StepLease,
    version: u64,
    owners: Vec<String>,
    /// When it was last seen to be renewed.
    seen: At,
}

/// All Leases of steps, by namespace and name.
#[derive(Debug, Default)]
pub struct Leases {
    held: BTreeMap<(String, String), Held>,
    /// Open claims without a Lease.
    orphans: HashMap<(ObjectKey, Box<str>), Orphan>,
}

/// An open claim without a Lease.
#[derive(Debug)]
struct Orphan {
    since: At,
    ended: bool,
}

impl Leases {
    /// A Lease was seen; returns the uids of its owners if that is news.
    pub fn put(&mut self, namespace: &str, seen: LeaseSeen, now: At) -> Vec<String> {
        let at = (namespace.to_owned(), seen.name.clone());
        let before = self.held.get(&at);
        let same = before.filter(|held| {
            held.lease.uid == seen.uid && held.lease.holder == seen.holder && !held.lease.ended
        });
        let resource_version = same.map_or_else(
            || seen.resource_version.clone(),
            |held| held.lease.resource_version.clone(),
        );
        let is_news = same.is_none();
        let version = number(&seen.resource_version);
        let lease = StepLease {
            name: seen.name,
            uid: seen.uid,
            resource_version,
            holder: seen.holder,
            ended: false,
        };
        let news = if is_news {
            seen.owners.clone()
        } else {
            Vec::new()
        };
        self.held.insert(
            at,
            Held {
                lease,
                version,
                owners: seen.owners,
                seen: now,
            },
        );
        news
    }

    /// A Lease is gone; returns uid and owners.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<(String, Vec<String>)> {
        let held = self.held.remove(&(namespace.to_owned(), name.to_owned()))?;
        Some((held.lease.uid, held.owners))
    }

    /// Names of all that are not among `known`.
    #[must_use]
    pub fn missing(
        &self,
        known: &std::collections::HashSet<(String, String)>,
    ) -> Vec<(String, String)> {
        self.held
            .keys()
            .filter(|at| !known.contains(*at))
            .cloned()
            .collect()
    }

    /// The watch was silent for reasons of its own: every Lease gets its full time again.
    pub fn excuse(&mut self, now: At) {
        self.held.values_mut().for_each(|held| held.seen = now);
        self.orphans
            .values_mut()
            .for_each(|orphan| orphan.since = now);
    }

    /// Judges: returns the Leases that have ended since, each with the uids of its owners.
    pub fn judge(&mut self, now: At) -> Vec<(String, Vec<String>)> {
        let mut ended = Vec::new();
        for held in self.held.values_mut() {
            if !held.lease.ended && held.seen + ENDED_AFTER <= now {
                held.lease.ended = true;
                ended.push((held.lease.name.clone(), held.owners.clone()));
            }
        }
        ended
    }

    /// Notes which open claims of an object have no Lease; returns the names of those that ended by it just now.
    pub fn judge_claims(&mut self, key: &ObjectKey, object: &Custom, now: At) -> Vec<String> {
        let mut ended = Vec::new();
        for claim in &object.open {
            let id = (key.clone(), claim.lease.clone());
            if self
                .held
                .contains_key(&(key.namespace.clone(), claim.lease.to_string()))
            {
                self.orphans.remove(&id);
                continue;
            }
            let orphan = self.orphans.entry(id).or_insert(Orphan {
                since: now,
                ended: false,
            });
            if !orphan.ended && orphan.since + ENDED_AFTER <= now {
                orphan.ended = true;
                ended.push(claim.lease.to_string());
            }
        }
        ended
    }

    /// Forgets claims without Lease that are not open any more.
    pub fn retain_claims(&mut self, open: impl Fn(&ObjectKey, &str) -> bool) {
        self.orphans.retain(|(key, lease), _| open(key, lease));
    }

    /// The Leases of an object by name, and an ended one for each open claim that has none for too long.
    #[must_use]
    pub fn of(&self, key: &ObjectKey, object: &Custom) -> Vec<StepLease> {
        let mut leases: Vec<StepLease> = self
            .held
            .iter()
            .filter(|((namespace, _), held)| {
                *namespace == key.namespace && held.owners.iter().any(|uid| **uid == *object.uid)
            })
            .map(|(_, held)| held.lease.clone())
            .collect();
        for claim in &object.open {
            let orphan = self.orphans.get(&(key.clone(), claim.lease.clone()));
            if orphan.is_some_and(|orphan| orphan.ended) {
                leases.push(StepLease {
                    name: claim.lease.to_string(),
                    uid: String::new(),
                    resource_version: String::new(),
                    holder: claim.executor.to_string(),
                    ended: true,
                });
            }
        }
        leases.sort_by(|a, b| a.name.cmp(&b.name));
        leases
    }

    /// The newest version seen of the Lease with this uid.
    #[must_use]
    pub fn version_of(&self, uid: &str) -> Option<u64> {
        self.held
            .values()
            .find(|held| held.lease.uid == uid)
            .map(|held| held.version)
    }

    /// Number of Leases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: &str, holder: &str) -> LeaseSeen {
        LeaseSeen {
            name: "step".into(),
            uid: "u".into(),
            resource_version: version.into(),
            holder: holder.into(),
            owners: vec!["app".into()],
        }
    }

    #[test]
    fn renewals_are_no_news_and_silence_ends_it_once() {
        let mut leases = Leases::default();
        let at = Duration::from_secs;
        assert_eq!(leases.put("n", seen("1", "a"), at(0)), ["app"]);
        assert!(leases.put("n", seen("2", "a"), at(2)).is_empty());
        assert_eq!(leases.version_of("u"), Some(2));
        assert!(leases.judge(at(7)).is_empty());
        assert_eq!(
            leases.judge(at(8)),
            [("step".to_owned(), vec!["app".to_owned()])]
        );
        assert!(leases.judge(at(9)).is_empty());
        assert_eq!(
            leases.put("n", seen("3", "a"), at(10)),
            ["app"],
            "it lives again"
        );
        leases.excuse(at(15));
        assert!(leases.judge(at(17)).is_empty());
        assert_eq!(
            leases.remove("n", "step"),
            Some(("u".to_owned(), vec!["app".to_owned()]))
        );
    }
}
