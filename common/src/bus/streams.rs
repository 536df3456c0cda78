//! What each stream and its durable consumer have to be, as fields of the server's API.
//!
//! Decides retention, limits and storage; never what becomes of one that is different.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::limits::{
    ACK_WAIT, BACKLOG_LIMIT, DEAD_AGE, DEAD_BYTES, LEDGER_AGE, LEDGER_BYTES, LEDGER_DUPLICATES,
    MAX_HEADERS, MAX_MESSAGE, PER_SUBJECT_LIMIT,
};
use crate::subject::Stream;

/// Where messages are kept. What is in memory alone is lost when the last server that has it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Storage {
    /// Flights in memory: the watcher observes their objects anew. All else in files.
    #[default]
    Split,
    /// All in files.
    File,
    /// All in memory.
    Memory,
}

impl Storage {
    fn of(self, stream: Stream) -> &'static str {
        match self {
            Self::Split if Stream::FLIGHTS.contains(&stream) => "memory",
            Self::Split | Self::File => "file",
            Self::Memory => "memory",
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The configuration of a stream.
pub(super) fn stream_config(
    stream: Stream,
    storage: Storage,
    replicas: usize,
) -> Map<String, Value> {
    let about = match stream {
        Stream::Events => "Events, watcher to planner",
        Stream::Plans => "Plans, planner to executor",
        Stream::Outcomes => "Outcomes, planner and executor to watcher",
        Stream::Triggers => "Triggers from outside, to watcher",
        Stream::Ledger => "What happened; nothing consumes it",
        Stream::Dead => "What could not be used, with the reason",
    };
    let common = json!({
        "name": stream.name(), "description": about, "subjects": [stream.subjects()],
        "storage": storage.of(stream), "num_replicas": replicas,
        "max_msg_size": MAX_MESSAGE + MAX_HEADERS,
    });
    let own = match stream {
        Stream::Events | Stream::Plans | Stream::Outcomes | Stream::Triggers => json!({
            "retention": "workqueue", "discard": "new", "discard_new_per_subject": true,
            "max_msgs": BACKLOG_LIMIT, "max_msgs_per_subject": PER_SUBJECT_LIMIT,
        }),
        Stream::Ledger => json!({
            "retention": "limits", "discard": "old", "compression": "s2", "allow_direct": true,
            "deny_delete": true, "deny_purge": true, "max_age": nanos(LEDGER_AGE),
            "max_bytes": LEDGER_BYTES, "duplicate_window": nanos(LEDGER_DUPLICATES),
        }),
        Stream::Dead => json!({
            "retention": "limits", "discard": "old", "compression": "s2", "allow_direct": true,
            "max_age": nanos(DEAD_AGE), "max_bytes": DEAD_BYTES,
        }),
    };
    object(common).into_iter().chain(object(own)).collect()
}

/// That of its consumer, which lies where its stream does.
pub(super) fn consumer_config(name: &str) -> Map<String, Value> {
    object(json!({
        "name": name, "durable_name": name, "ack_policy": "explicit", "deliver_policy": "all",
        "replay_policy": "instant", "ack_wait": nanos(ACK_WAIT), "max_deliver": -1,
        "max_ack_pending": BACKLOG_LIMIT, "max_waiting": 512,
    }))
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}
