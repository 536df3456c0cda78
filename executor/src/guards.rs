//! Guards: what an action's safety rests on in other objects, read live right before the write.
//!
//! Decides whether they hold; never writes. One that does not hold is a conflict: observe anew.

use serde_json::Value;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::plan::Guard;

use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::{self, uid_of};
use crate::context::PlanContext;
use crate::error::ActionError;

/// Reads what the guards name; an error if one does not hold.
pub(crate) async fn hold(ctx: &PlanContext, guards: &[Guard]) -> Result<(), ActionError> {
    futures::future::try_join_all(guards.iter().map(|guard| check(ctx, guard)))
        .await
        .map(|_| ())
}

async fn check(ctx: &PlanContext, guard: &Guard) -> Result<(), ActionError> {
    let target = Target::named(&guard.kind, &ctx.key.namespace, &guard.name)
        .filter(|_| is_name(&guard.name))
        .ok_or_else(|| {
            let message = format!(
                "a guard names {} {}, which can't be read",
                guard.kind, guard.name
            );
            ActionError::new(ErrorClass::Invalid, message)
        })?;
    let live = ctx.api.get(&target).await?;
    let why = if guard.uid.is_empty() {
        owned(&ctx.uid, live.as_ref())
    } else {
        broken(guard, live.as_ref())
    };
    match why {
        None => Ok(()),
        Some(why) => {
            let message = format!(
                "guard on {} {} does not hold: {why}",
                guard.kind, guard.name
            );
            Err(ActionError::conflict(message))
        }
    }
}

/// Why there still is one of `owner`.
fn owned(owner: &str, live: Option<&Value>) -> Option<String> {
    let live = live.filter(|live| !conflict::is_terminating(live))?;
    let ours = conflict::trimmed(live).is_some_and(|live| live.is_owned_by(owner));
    ours.then(|| "it is still there".to_owned())
}

/// What does not hold.
fn broken(guard: &Guard, live: Option<&Value>) -> Option<String> {
    let Some(live) = live else {
        return Some("it is gone".to_owned());
    };
    if uid_of(live) != guard.uid {
        return Some(format!(
            "its uid is {} instead of {}",
            uid_of(live),
            guard.uid
        ));
    }
    let failed = guard
        .expect
        .iter()
        .find(|e| !e.test.holds(live.pointer(&e.pointer)))?;
    let found = live.pointer(&failed.pointer).unwrap_or(&Value::Null);
    Some(format!(
        "{} is {found}, wanted {:?}",
        failed.pointer, failed.test
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use signalbox_common::wire::plan::{Expect, Test};
    use signalbox_crds::names::LABEL_OWNER_UID;

    fn guard(test: Test) -> Guard {
        Guard {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
            expect: vec![Expect {
                pointer: "/status/availableReplicas".to_owned(),
                test,
            }],
        }
    }

    #[test]
    fn uid_existence_and_expectations_are_judged() {
        let live = json!({"metadata": {"uid": "u"}, "status": {"availableReplicas": 2}});
        assert_eq!(broken(&guard(Test::AtLeast(2)), Some(&live)), None);
        assert!(broken(&guard(Test::AtLeast(3)), Some(&live)).is_some());
        assert!(broken(&guard(Test::Absent), Some(&live)).is_some());
        assert!(broken(&guard(Test::AtLeast(0)), None).is_some());
        let other = json!({"metadata": {"uid": "v"}, "status": {"availableReplicas": 2}});
        assert!(broken(&guard(Test::AtLeast(2)), Some(&other)).is_some());
    }

    #[test]
    fn only_what_is_owned_and_stays_breaks_a_guard_on_absence() {
        let claim = |owner: &str, deleted: Value| {
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": "web", "namespace": "team", "uid": "c", "resourceVersion": "7",
                    "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": deleted,
                    "labels": { LABEL_OWNER_UID: owner },
                },
            })
        };
        assert!(owned("u", Some(&claim("u", Value::Null))).is_some());
        let going = claim("u", json!("2026-01-01T00:00:00Z"));
        assert_eq!(owned("u", Some(&going)), None);
        assert_eq!(owned("u", Some(&claim("v", Value::Null))), None);
        assert_eq!(owned("u", None), None);
    }
}
