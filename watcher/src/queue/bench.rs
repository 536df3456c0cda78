//! What the queue's tests share: a queue with ids, changes and Outcomes.

use signalbox_common::class::ErrorClass;
use signalbox_common::id::{ObjectKey, ReconcileId};
use signalbox_common::kinds::Kind;
use signalbox_common::wire::outcome::{Failure, Written};
use signalbox_common::wire::{Cause, Outcome, OutcomeResult};
use std::time::Duration;
use uuid::Uuid;

use super::*;

pub(super) const fn ms(ms: u64) -> At {
    Duration::from_millis(ms)
}

pub(super) fn key(namespace: &str, name: usize) -> ObjectKey {
    ObjectKey::new(Kind::PortfolioApp, namespace, format!("app-{name}"))
}

pub(super) fn spec(generation: i64) -> Change {
    Change {
        haste: Haste::Spec,
        ..Change::news(Cause::Spec { generation }, Priority::Spec)
    }
}

pub(super) fn child(uid: &str, version: u64) -> Change {
    let cause = Cause::Child {
        kind: "Deployment".into(),
        name: uid.into(),
    };
    let version = Some(Version {
        uid: uid.into(),
        number: version,
    });
    Change {
        version,
        ..Change::news(cause, Priority::Drift)
    }
}

pub(super) fn urgent() -> Change {
    Change::news(Cause::Deletion, Priority::Urgent)
}

#[derive(Default)]
pub(super) struct Bench {
    pub(super) queue: Queue,
    ids: u128,
}

impl Bench {
    pub(super) fn next(&mut self, now: At) -> Decision {
        let ids = &mut self.ids;
        self.queue.next(now, &mut || {
            *ids += 1;
            ReconcileId(Uuid::from_u128(*ids))
        })
    }

    /// Everything that is sent at `now`.
    pub(super) fn sent(&mut self, now: At) -> Vec<(ObjectKey, ReconcileId, Cause)> {
        let mut sent = Vec::new();
        while let Decision::Send { key, id, cause } = self.next(now) {
            sent.push((key, id, cause));
        }
        sent
    }

    pub(super) fn one(&mut self, now: At) -> (ReconcileId, Cause) {
        let mut sent = self.sent(now);
        assert_eq!(sent.len(), 1, "{sent:?}");
        let (_, id, cause) = sent.remove(0);
        (id, cause)
    }

    pub(super) fn end(&mut self, key: &ObjectKey, id: ReconcileId, result: OutcomeResult, now: At) {
        self.queue
            .outcome(&outcome(key, id, result), &[], None, now);
    }
}

pub(crate) fn outcome(key: &ObjectKey, id: ReconcileId, result: OutcomeResult) -> Outcome {
    Outcome {
        schema: 1,
        reconcile_id: id,
        key: key.clone(),
        uid: "u".into(),
        by: "test".into(),
        trigger: None,
        result,
        actions: Vec::new(),
        written: Vec::new(),
        live: None,
        not_before: None,
        late: Vec::new(),
        rest: None,
    }
}

pub(crate) fn failed(class: ErrorClass) -> OutcomeResult {
    OutcomeResult::Failed(Failure {
        action: "a".into(),
        class,
        message: "m".into(),
    })
}

pub(crate) fn written(uid: &str, version: u64) -> Written {
    Written {
        kind: "Deployment".into(),
        name: uid.into(),
        uid: uid.into(),
        resource_version: version.to_string(),
        deleted: false,
        retried: false,
    }
}
