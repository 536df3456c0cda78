//! The files that stand in a `ConfigMap`: when it is read.
//!
//! Decides how often; the executor reads, and only names, sizes and hashes come back.

use signalbox_common::backoff;
use signalbox_common::class::ErrorClass;
use signalbox_common::wire::Action;
use signalbox_common::wire::action::ResolveSource;
use signalbox_crds::condition::LastFailure;

use super::state::State;
use super::turn::Turn;
use super::view::File;
use crate::failure::later;
use crate::status;

/// Key of the action that reads the `ConfigMap`.
const RESOLVE: &str = "resolve";

impl Turn<'_> {
    /// A file that stands nowhere: the `ConfigMap` is read again, ever more rarely.
    pub(super) fn missing(&mut self, file: &File) {
        let view = self.view;
        let action = format!("file/{}", file.name);
        let map = view.spec.config_map.as_deref().unwrap_or_default();
        let message = format!("ConfigMap {map} has no {}", file.name);
        let before = self.failure.take().filter(|f| f.action == action);
        let waits = before.clone().filter(|f| {
            f.generation == view.generation && f.until.is_some_and(|until| until > view.now())
        });
        self.state = State::Retrying(ErrorClass::Missing.label().to_owned(), message.clone());
        if let Some(failure) = waits {
            failure.until.into_iter().for_each(|until| self.wake(until));
            self.failure = Some(failure);
            return;
        }
        let attempts = before.as_ref().map_or(0, |f| f.attempts).saturating_add(1);
        let jitter = backoff::jitter_of(&view.seen.uid);
        let until = later(
            view.now(),
            backoff::after(ErrorClass::Missing, attempts, jitter),
        );
        self.failure = Some(LastFailure {
            action,
            class: ErrorClass::Missing.label().to_owned(),
            message,
            attempts,
            since: before.map_or(view.now(), |f| f.since),
            last: view.now(),
            generation: view.generation,
            until: Some(until),
            reconcile_id: None,
        });
        // The first time it was read for this generation just now.
        if attempts > 1 {
            let state = self.state.clone();
            self.resolve(&attempts.to_string());
            self.state = state;
        }
        self.wake(until);
    }

    /// Has the `ConfigMap` read.
    pub(super) fn resolve(&mut self, again: &str) {
        let view = self.view;
        let Some(config_map) = view.spec.config_map.clone() else {
            let message = "spec.files[] without sql need spec.configMap".to_owned();
            self.state = State::Stalled("InvalidFiles".to_owned(), message);
            return;
        };
        if self.assessment.holds(RESOLVE) {
            return self.hold(RESOLVE);
        }
        self.wanted.push(RESOLVE.to_owned());
        let occurrence = format!("{config_map}/{}/{again}", view.generation);
        let action = Action::ResolveSource(ResolveSource {
            resource_version: view.object.resource_version.clone(),
            seen: status::seen(view.object),
            config_map,
            for_generation: view.generation,
            files: view.outside(),
        });
        self.draft.push(RESOLVE, &occurrence, action);
        self.state = State::Resolving;
        // Its result is this plan's own write, so it is no news: look at it at once.
        self.wake(view.now());
    }
}
