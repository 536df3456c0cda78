//! Which changes are news, and how urgent: decided from what was cached before and after.
//!
//! Never looks at an Outcome: whether a version is the operator's own write is the queue's to know.

use signalbox_common::wire::Cause;

use super::Child;
use super::custom::Custom;
use crate::queue::{Change, Haste, Priority, Version};

/// What a change of a custom resource means for itself.
#[must_use]
pub fn of_object(before: Option<&Custom>, after: &Custom) -> Option<Change> {
    let spec = Cause::Spec {
        generation: after.generation,
    };
    let before = before.filter(|before| before.uid == after.uid);
    let Some(before) = before else {
        return Some(if after.deleting {
            Change::news(Cause::Deletion, Priority::Urgent)
        } else {
            Change {
                haste: Haste::Spec,
                ..Change::news(spec, Priority::Spec)
            }
        });
    };
    if after.deleting && before.meat != after.meat {
        return Some(Change::news(Cause::Deletion, Priority::Urgent));
    }
    if let Some(command) = after
        .command
        .as_ref()
        .filter(|_| before.command != after.command)
    {
        let command = command.to_string();
        return Some(Change::news(Cause::Command { command }, Priority::Urgent));
    }
    if before.meat != after.meat || before.generation != after.generation {
        let haste = if before.generation == after.generation {
            Haste::Now
        } else {
            Haste::Spec
        };
        return Some(Change {
            haste,
            ..Change::news(spec, Priority::Spec)
        });
    }
    if before.resolved != after.resolved {
        // Resolved for the next plan: it has to be made, whoever wrote it.
        return Some(Change::news(Cause::Outcome, Priority::Drift));
    }
    let result = before.claims != after.claims;
    (before.status != after.status).then(|| Change {
        bypass: result,
        // Status is the operator's own; only the result of long work is waited for.
        haste: if result { Haste::Now } else { Haste::WithSpec },
        version: Some(version(&after.uid, after.version)),
        ..Change::news(Cause::Outcome, Priority::Drift)
    })
}

/// What a change of a custom resource means for those linked with it.
#[must_use]
pub fn of_link(
    kind: &str,
    name: &str,
    before: Option<&Custom>,
    after: Option<&Custom>,
) -> Option<Change> {
    let cause = Cause::Link {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let news = Change::news(cause, Priority::Drift);
    let Some(after) = after else {
        return before.map(|_| news);
    };
    let same = before.filter(|before| before.uid == after.uid && before.meat == after.meat);
    match same {
        None => Some(Change {
            version: Some(version(&after.uid, after.version)),
            ..news
        }),
        Some(before) => (before.status != after.status).then(|| Change {
            bypass: before.claims != after.claims,
            version: Some(version(&after.uid, after.version)),
            ..news
        }),
    }
}

/// What a change of a child means for its owner.
#[must_use]
pub fn of_child(
    kind: &str,
    name: &str,
    before: Option<&Child>,
    after: Option<&Child>,
) -> Option<Change> {
    let cause = Cause::Child {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let news = Change::news(cause, Priority::Drift);
    // What comes and goes is nearly always what the operator made and deleted: no reason to take half of
    // a flurry along.
    let existence = Change {
        haste: Haste::WithSpec,
        ..news.clone()
    };
    let Some(after) = after else {
        return before.map(|_| existence);
    };
    let same = before.filter(|before| before.uid == after.uid);
    let news = if same.is_none() { existence } else { news };
    let meat = same.is_none_or(|before| before.meat != after.meat);
    let status = same.is_some_and(|before| before.status != after.status);
    (meat || status).then(|| Change {
        bypass: meat,
        version: Some(version(&after.uid, after.version)),
        ..news
    })
}

fn version(uid: &str, number: u64) -> Version {
    Version {
        uid: uid.to_owned(),
        number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use signalbox_common::kinds::Kind;
    use signalbox_common::wire::trim::trim_as;

    fn app(version: u64, change: impl FnOnce(&mut Value)) -> Custom {
        let mut object = json!({
            "metadata": { "name": "web", "namespace": "n", "uid": "u", "generation": 1,
                "resourceVersion": version.to_string(), "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "image": "a" },
            "status": { "observedGeneration": -1 },
        });
        change(&mut object);
        Custom::new(
            Kind::PortfolioApp,
            "n",
            &trim_as("PortfolioApp", object).unwrap(),
        )
    }

    fn news(change: impl FnOnce(&mut Value)) -> Option<(&'static str, Priority, bool, bool)> {
        let change = of_object(Some(&app(1, |_| ())), &app(2, change))?;
        Some((
            change.cause.label(),
            change.priority,
            change.haste == Haste::Spec,
            change.version.is_some(),
        ))
    }

    #[test]
    fn each_change_has_its_cause() {
        use Priority::{Drift, Spec, Urgent};
        assert_eq!(news(|_| ()), None, "a new version alone is nothing");
        assert_eq!(
            news(|o| {
                o["spec"]["image"] = json!("b");
                o["metadata"]["generation"] = json!(2);
            }),
            Some(("spec", Spec, true, false))
        );
        let time = json!("2026-01-01T00:00:01Z");
        assert_eq!(
            news(|o| o["metadata"]["deletionTimestamp"] = time),
            Some(("deletion", Urgent, false, false))
        );
        let command = json!({ "signalbox.dev/command": "pause r 1 x" });
        assert_eq!(
            news(|o| o["metadata"]["annotations"] = command),
            Some(("command", Urgent, false, false))
        );
        assert_eq!(
            news(|o| o["metadata"]["finalizers"] = json!(["signalbox.dev/finalizer"])),
            Some(("spec", Spec, false, false)),
            "also our own finalizer: the next plan needs it"
        );
        assert_eq!(
            news(|o| o["status"]["phase"] = json!("Ready")),
            Some(("outcome", Drift, false, true))
        );
        assert_eq!(
            news(|o| o["status"]["references"] = json!({ "epoch": 1 })),
            Some(("outcome", Drift, false, false))
        );
    }

    #[test]
    fn a_claims_result_ends_a_backoff_and_a_plain_status_does_not() {
        let before = app(1, |_| ());
        let of = |change: fn(&mut Value)| of_object(Some(&before), &app(2, change)).unwrap().bypass;
        assert!(of(
            |o| o["status"]["claims"] = json!({ "s": { "state": "Succeeded" } })
        ));
        assert!(!of(|o| o["status"]["phase"] = json!("x")));
    }

    #[test]
    fn a_link_tells_of_spec_and_status() {
        let before = app(1, |_| ());
        let status = app(2, |o| o["status"]["phase"] = json!("x"));
        assert!(of_link("PortfolioApp", "web", Some(&before), Some(&status)).is_some());
        assert!(of_link("PortfolioApp", "web", Some(&before), None).is_some());
        assert!(of_link("PortfolioApp", "web", Some(&before), Some(&app(3, |_| ()))).is_none());
    }
}
