//! Wire types: everything that crosses the bus or stands in the ledger.
//!
//! Each message carries `schema`; readers accept [`SCHEMA`] and the version before it. No secret ever
//! fits in here: names and keyed digests only.

pub mod action;
pub mod event;
pub mod late;
pub mod live;
pub mod observation;
pub mod outcome;
pub mod plan;
pub mod trigger;
pub mod trim;

pub use action::Action;
pub use event::Event;
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

/// Reads a message of a known schema.
///
/// # Errors
/// What is wrong, for the record in DEAD: no JSON, no `schema`, an unknown version, a missing field.
pub fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, String> {
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
    let head: Head = serde_json::from_slice(body).map_err(|err| format!("no message: {err}"))?;
    let own = schema();
    if head.schema > own || head.schema + 1 < own || head.schema == 0 {
        return Err(format!(
            "schema {} is unknown to a reader of {own}",
            head.schema
        ));
    }
    serde_json::from_slice(body).map_err(|err| format!("schema {}: {err}", head.schema))
}
