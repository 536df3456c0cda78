//! What must be true of triggers: none is applied twice, none after a later one, and who is told that it is
//! applied can rely on it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use signalbox_crds::names::{ANNOTATION_TRIGGER, ANNOTATION_TRIGGER_TIME};

use super::Oracle;
use crate::api::json::text;
use crate::api::store::{Change, Deed};

/// What was seen of triggers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Applied triggers, by the app's uid.
    applied: BTreeMap<String, BTreeSet<String>>,
}

fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    let all = object.pointer("/metadata/annotations");
    let value = all.and_then(|all| all.get(name)).and_then(Value::as_str);
    value.unwrap_or_default()
}

fn time(object: &Value) -> Option<Timestamp> {
    annotation(object, ANNOTATION_TRIGGER_TIME).parse().ok()
}

impl Oracle {
    /// Looks at what a change of an app means for triggers.
    pub(super) fn trigger_changes(&self, who: &str, change: &Change) {
        let object = &change.object;
        let id = annotation(object, ANNOTATION_TRIGGER);
        if id.is_empty() || change.deed == Deed::Deleted {
            return;
        }
        let before = change.before.as_ref();
        if before.is_some_and(|before| annotation(before, ANNOTATION_TRIGGER) == id) {
            return;
        }
        let uid = text(object, "/metadata/uid").to_owned();
        let applied = self
            .lock()
            .triggers
            .applied
            .entry(uid)
            .or_default()
            .insert(id.to_owned());
        if !applied {
            self.net.broken(format!(
                "{who} applies trigger {id} to {} a second time",
                change.place
            ));
        }
        if let Some(before) = before.and_then(|before| time(before))
            && time(object).is_none_or(|now| now < before)
        {
            self.net.broken(format!(
                "{who} applies trigger {id} to {} after a later one",
                change.place
            ));
        }
    }

    /// Answers that say what is not so.
    #[must_use]
    pub fn false_answers(&self, answers: &[(String, Vec<u8>)]) -> Vec<String> {
        let seen = self.lock();
        let known = |id: &str| {
            let mut all = seen.triggers.applied.values();
            all.any(|applied| applied.contains(id))
        };
        let answers = answers.iter().filter_map(|(_, body)| {
            let answer: Value = serde_json::from_slice(body).ok()?;
            let id = text(&answer, "/trigger");
            (text(&answer, "/result") == "applied" && !known(id))
                .then(|| format!("trigger {id} was answered as applied, and is not"))
        });
        answers.collect()
    }
}
