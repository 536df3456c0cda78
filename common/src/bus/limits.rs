//! The bounds of the bus: the one place where they are decided.
//!
//! Never enforces anything: the server and the watcher do.

use std::time::Duration;

/// Messages that a work queue holds, queued and delivered; also the flights of the watcher.
pub const BACKLOG_LIMIT: usize = 50;
/// Flights for ordinary work.
pub const ORDINARY_FLIGHTS: usize = 48;
/// Flights kept for what is urgent.
pub const URGENT_FLIGHTS: usize = BACKLOG_LIMIT - ORDINARY_FLIGHTS;
/// Messages of one subject of a work queue.
pub const PER_SUBJECT_LIMIT: usize = 1;
/// Largest message, in bytes.
pub const MAX_MESSAGE: usize = crate::wire::MAX_MESSAGE_BYTES;
/// What headers may add to a message, in bytes.
pub const MAX_HEADERS: usize = 4 * 1024;
/// A delivery that is not extended comes again after this time.
pub const ACK_WAIT: Duration = Duration::from_secs(4);
/// How often a holder extends its deliveries.
pub const IN_PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// A holder that could not extend for this time stops before its next request.
pub const LOST_AFTER: Duration = Duration::from_secs(3);
/// Who sees this delivery puts the message into DEAD.
pub const DEAD_DELIVERY: u64 = 6;
/// An answer of the bus is waited for this long.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Age of what LEDGER keeps.
pub const LEDGER_AGE: Duration = Duration::from_hours(7 * 24);
/// Bytes that LEDGER keeps.
pub const LEDGER_BYTES: i64 = 1024 * 1024 * 1024;
/// Window in which LEDGER refuses a second message of the same id.
pub const LEDGER_DUPLICATES: Duration = Duration::from_mins(2);
/// Age of what DEAD keeps.
pub const DEAD_AGE: Duration = Duration::from_hours(30 * 24);
/// Bytes that DEAD keeps.
pub const DEAD_BYTES: i64 = 256 * 1024 * 1024;

// A holder knows that it lost a delivery before anybody else gets it.
const _: () = assert!(LOST_AFTER.as_millis() < ACK_WAIT.as_millis());
