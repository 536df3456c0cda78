//! What an action knows of the plan that it belongs to.
//!
//! Decides which resource version a later action on the same object uses; never talks to anything
//! itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use signalbox_common::bus::SharedBus;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::wire::outcome::{ActionResult, Written};
use tokio_util::sync::CancellationToken;

use crate::api::Api;

/// Kind (as in `kind:`) and name of an object in the plan's namespace.
pub(crate) type ObjectName = (String, String);

/// One plan under way. Cloned by long work that goes on after the plan.
#[derive(Clone)]
pub(crate) struct PlanContext {
    /// The API server behind limits, timeouts and breaker: the usual way. It refuses every request
    /// once the plan must stop; long work that goes on beside the plans has one that is not bound to it.
    pub(crate) api: Api,
    /// The bus, for the ledger.
    pub(crate) bus: SharedBus,
    /// Cluster, as in the subjects.
    pub(crate) cluster: String,
    /// This executor.
    pub(crate) instance: String,
    /// The plan's object; everything happens in its namespace.
    pub(crate) key: ObjectKey,
    /// Its uid: every write is fenced by it.
    pub(crate) uid: String,
    /// The flight.
    pub(crate) reconcile_id: ReconcileId,
    /// Who is behind the plan.
    pub(crate) actor: String,
    /// Versions that earlier actions of this plan returned.
    pub(crate) versions: Arc<Versions>,
    /// Cancelled when no further request may be sent: the delivery could not be extended, or the
    /// plan's time is over.
    pub(crate) cancel: CancellationToken,
}

impl PlanContext {
    /// The version to send for an object: what an earlier action of this plan returned, else what
    /// the planner saw.
    pub(crate) fn version(&self, kind: &str, name: &str, seen: &str) -> String {
        self.versions
            .get(kind, name)
            .unwrap_or_else(|| seen.to_owned())
    }
}

/// Resource versions that earlier actions of a plan returned, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Versions(Mutex<BTreeMap<ObjectName, String>>);

impl Versions {
    /// The version that an earlier action returned.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<String> {
        let versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.get(&(kind.to_owned(), name.to_owned())).cloned()
    }

    /// Keeps what an action wrote. Not the version of a write that was tried again or read back: it may hide a
    /// change by somebody else, and what rests on the object has to look for itself.
    pub(crate) fn note(&self, written: &Written) {
        if written.retried {
            return;
        }
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (written.kind.clone(), written.name.clone());
        if written.deleted {
            versions.remove(&name);
        } else {
            versions.insert(name, written.resource_version.clone());
        }
    }
}

/// What an action that did not fail came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// `Done`, `FoundDone` or `Running`.
    pub(crate) result: ActionResult,
    /// What was written.
    pub(crate) written: Vec<Written>,
    /// The answer to its first try shows what was to be written, with nothing of it left out or changed.
    pub(crate) exact: bool,
}

impl Applied {
    /// It was as wanted already; nothing was written.
    pub(crate) const fn found_done() -> Self {
        Self {
            result: ActionResult::FoundDone,
            written: Vec::new(),
            exact: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: &str, deleted: bool) -> Written {
        Written {
            kind: "Service".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
            resource_version: version.to_owned(),
            deleted,
            retried: false,
        }
    }

    #[test]
    fn later_actions_use_what_the_earlier_one_returned() {
        let versions = Versions::default();
        assert_eq!(versions.get("Service", "web"), None);
        versions.note(&written("7", false));
        assert_eq!(versions.get("Service", "web").as_deref(), Some("7"));
        versions.note(&written("8", true));
        assert_eq!(versions.get("Service", "web"), None);
    }

    /// Seed 75243: the answer to a claim was lost and read back behind another plan's status, which this plan's own
    /// status then took back to an older generation.
    #[test]
    fn nothing_rests_on_a_version_that_was_read_back() {
        let versions = Versions::default();
        versions.note(&Written {
            retried: true,
            ..written("9", false)
        });
        assert_eq!(versions.get("Service", "web"), None);
    }
}
