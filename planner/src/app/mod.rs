//! `PortfolioApp`: from what is seen of an app to what is done next.
//!
//! Decides the order of precedence: trigger, deletion, unreadable spec, finalizer, references, and then
//! the rollout with its children. Pure: no clock, no randomness, no IO.

mod children;
mod draw;
mod finalize;
mod migrations;
mod noted;
mod quantity;
mod reconcile;
mod references;
mod renderer;
mod resolve;
mod rollout;
mod satisfied;
mod status;
mod trigger;
mod world;

use signalbox_common::wire::{LiveObject, Observation};

use self::resolve::App;
use crate::draft::Draft;
use crate::stalled;

/// What is done about the app `object`.
pub(crate) fn decide(seen: &Observation, object: &LiveObject) -> Draft {
    if let Some(trigger) = seen.cause.trigger() {
        return trigger::decide(object, trigger);
    }
    if object.deleted_at.is_some() {
        return finalize::decide(seen, object);
    }
    let app = match App::read(seen, object) {
        Ok(app) => app,
        Err(message) => return stalled::unreadable(seen, object, &message),
    };
    if let Some(draft) = finalize::prepare(&app) {
        return draft;
    }
    if let Some(draft) = references::resolve(&app) {
        return draft;
    }
    draw::draw(&app)
}
