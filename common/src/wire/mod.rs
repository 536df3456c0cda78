//! Wire types: everything that crosses the bus or stands in the ledger.
//!
//! Each message carries `schema`; readers accept [`SCHEMA`] and the version before it. No secret ever
//! fits in here: names and keyed digests only.

use serde::de::DeserializeOwned;

pub mod action;
pub mod event;
pub mod full;
pub mod late;
pub mod live;
pub mod observation;
pub mod outcome;
pub mod plan;
pub mod planned;
mod tagged;
pub mod trigger;
pub mod trim;

pub use action::Action;
pub use event::Event;
pub use full::Full;
pub use late::{LateWrite, RestsOn};
pub use live::LiveObject;
pub use observation::{Cause, Observation};
pub use outcome::{Outcome, OutcomeResult};
pub use plan::{Plan, PlannedAction, Verdict};
pub use trigger::Trigger;

/// Version of the messages that this build writes; it reads this one and the one before.
pub const SCHEMA: u16 = 1;

/// The schema that this process writes; it reads this one and the one before.
#[cfg(not(feature = "variants"))]
#[must_use]
pub const fn schema() -> u16 {
    SCHEMA
}

/// The schema that this process writes: [`SCHEMA`], or what a test makes it, so that it is another build.
#[cfg(feature = "variants")]
#[must_use]
pub fn schema() -> u16 {
    static CHOSEN: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let chosen = std::env::var("SIGNALBOX_WIRE_SCHEMA").ok();
        chosen.and_then(|text| text.parse().ok()).unwrap_or(SCHEMA)
    })
}

/// The schema of an answer to a message of `asked`: whoever wrote that may be an older build, and reads the answer.
#[must_use]
pub fn answering(asked: u16) -> u16 {
    asked.min(schema())
}

/// Largest message on the bus, in bytes. A larger Event goes as `TooLarge`.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// What crosses the bus.
pub trait Versioned: DeserializeOwned {
    /// Version of the message.
    fn schema(&self) -> u16;
}

impl Versioned for Event {
    fn schema(&self) -> u16 {
        self.schema
    }
}

impl Versioned for Plan {
    fn schema(&self) -> u16 {
        self.schema
    }
}

impl Versioned for Outcome {
    fn schema(&self) -> u16 {
        self.schema
    }
}

/// Reads a message of a known schema. The schema is looked for alone only where the whole can't be read: it may be
/// the reason.
///
/// # Errors
/// What is wrong, for the record in DEAD: no JSON, no `schema`, an unknown version, a missing field.
pub fn decode<T: Versioned>(body: &[u8]) -> Result<T, String> {
    #[derive(serde::Deserialize)]
    struct Head {
        schema: u16,
    }
    if body.len() > MAX_MESSAGE_BYTES {
        return Err(format!(
            "{} bytes, more than the limit of {MAX_MESSAGE_BYTES}",
            body.len()
        ));
    }
    let message = serde_json::from_slice::<T>(body);
    let told = if let Ok(message) = &message {
        message.schema()
    } else {
        let head = serde_json::from_slice::<Head>(body);
        head.map_err(|err| format!("no message: {err}"))?.schema
    };
    let own = schema();
    if told > own || told + 1 < own || told == 0 {
        return Err(format!("schema {told} is unknown to a reader of {own}"));
    }
    message.map_err(|err| format!("schema {told}: {err}"))
}
