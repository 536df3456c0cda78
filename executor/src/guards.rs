//! Guards: what an action's safety rests on in other objects, read live right before the write.
//!
//! Decides whether they hold; never writes. One that does not hold is a conflict: observe anew.

use serde_json::Value;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::plan::Guard;

use crate::api::Target;
use crate::api::target::is_name;
use crate::conflict::uid_of;
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
    match broken(guard, live.as_ref()) {
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
}
