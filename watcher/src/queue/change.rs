//! What makes an object dirty: why, how urgent, whether it may wait, and which version made it.
//!
//! Decides nothing by itself.

use signalbox_common::wire::Cause;

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A deletion, a command.
    Urgent,
    /// A change of spec, a trigger.
    Spec,
    /// Drift, results, timers.
    Drift,
    /// A start, a takeover, a comparison.
    Resync,
}

impl Priority {
    /// All, most urgent first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::Spec, Self::Drift, Self::Resync];
}

/// A version of one object; only versions of the same object are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Uid.
    pub uid: String,
    /// The resource version as a number.
    pub number: u64,
}

impl Version {
    /// From what the API server says.
    #[must_use]
    pub fn new(uid: &str, resource_version: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            number: number(resource_version),
        }
    }
}

/// A resource version as the decimal number that it is; 0 for anything else.
#[must_use]
pub fn number(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or(0)
}

/// Whether a change may wait while its object keeps changing; the most pressing one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Haste {
    /// It goes as soon as there is room, and takes with it what is held.
    Now,
    /// A change of spec: held in a storm and in a flurry.
    Spec,
    /// Goes by itself, and waits with changes of spec that are held.
    WithSpec,
}

/// Something that makes an object dirty.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Why.
    pub cause: Cause,
    /// How urgent.
    pub priority: Priority,
    /// Whether it may wait.
    pub haste: Haste,
    /// Ends a backoff.
    pub bypass: bool,
    /// The version that it made; no news if an Outcome names it. None: always news.
    pub version: Option<Version>,
}

impl Change {
    /// A change that is news, is not held and ends a backoff.
    #[must_use]
    pub const fn news(cause: Cause, priority: Priority) -> Self {
        Self {
            cause,
            priority,
            haste: Haste::Now,
            bypass: true,
            version: None,
        }
    }

    /// A look at what came of a flight: waits with changes of spec that are held.
    #[must_use]
    pub fn look() -> Self {
        Self {
            haste: Haste::WithSpec,
            ..Self::news(Cause::Outcome, Priority::Drift)
        }
    }
}
