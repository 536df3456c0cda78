//! The Event: an Observation on its way from the watcher to the planner.

use serde::{Deserialize, Serialize};

use super::live::LiveObject;
use super::observation::Observation;

/// Message of EVENTS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event<L = LiveObject> {
    /// Version of the message.
    pub schema: u16,
    /// What was observed.
    pub observation: Observation<L>,
}

impl<L> Event<L> {
    /// An Event of the current schema.
    #[must_use]
    pub fn new(observation: Observation<L>) -> Self {
        Self {
            schema: super::schema(),
            observation,
        }
    }
}
