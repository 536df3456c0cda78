//! References: when the Secrets that an app names are read again.
//!
//! Decides by the hash of the user's own inputs, never by a generation: scaling or pausing restarts
//! nothing. Never sees a Secret.

use signalbox_common::wire::Action;
use signalbox_common::wire::action::ResolveReferences;

use super::resolve::App;
use super::rollout::Mood;
use super::status::{self, Told};
use crate::draft::Draft;
use crate::failure::assess;

/// Key of the action.
const KEY: &str = "references";

/// The plan that reads them, and nothing else; none if they are known.
pub(super) fn resolve(app: &App<'_>) -> Option<Draft> {
    let inputs = app.inputs_hash();
    let before = app.status.references.clone();
    let known = before
        .as_ref()
        .is_some_and(|references| references.for_inputs == inputs);
    if app.spec.secrets.is_empty() || known || app.spec.paused {
        return None;
    }
    let failures = assess(app.seen, app.status.last_failure.as_ref(), app.generation());
    let mut draft = Draft::new(app.uid());
    if failures.holds(KEY) {
        let mood = Mood {
            phase: "Pending",
            reason: "ReferencesUnresolved",
            message: "the Secrets are not read yet".to_owned(),
            busy: true,
            ..Default::default()
        };
        let told = Told {
            mood,
            ..Default::default()
        };
        let mut new = app.status.clone();
        new.next_wake = failures.until;
        status::finish(app, &mut draft, new, told, failures, &[KEY.to_owned()]);
        return Some(draft);
    }
    let mut secrets: Vec<String> = app
        .spec
        .secrets
        .iter()
        .map(|secret| secret.name.clone())
        .collect();
    secrets.sort();
    secrets.dedup();
    let action = Action::ResolveReferences(ResolveReferences {
        resource_version: app.object.resource_version.clone(),
        seen: crate::status::seen(app.object),
        for_inputs: inputs.clone(),
        secrets,
        before,
    });
    draft.push(KEY, &inputs, action);
    Some(draft)
}
