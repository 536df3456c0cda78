//! What JetStream's answers mean: acknowledgements, refusals, states, reply subjects.
//!
//! Pure: text in, values out. The description is all that tells a taken place from a full stream.

use std::collections::BTreeMap;
use std::fmt::Display;

use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Error, ErrorCode};
use jiff::Timestamp;
use serde::Deserialize;

use super::{BusError, PublishError, StreamState};
use crate::subject::Stream;

/// State of a stream, with its subjects if they were asked for.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    created: Timestamp,
    pub(super) state: State,
    /// Number of subjects over all pages.
    #[serde(default)]
    pub(super) total: usize,
}

/// The counts of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    messages: u64,
    first_seq: u64,
    last_seq: u64,
    #[serde(default)]
    pub(super) subjects: Option<BTreeMap<String, u64>>,
}

impl From<StreamInfo> for StreamState {
    fn from(info: StreamInfo) -> Self {
        Self {
            messages: info.state.messages,
            first_sequence: info.state.first_seq,
            last_sequence: info.state.last_seq,
            created: info.created,
        }
    }
}

/// What JetStream tells of a message. Its client's type is read twice: as a refusal first.
#[derive(Deserialize)]
struct Stored {
    seq: Option<u64>,
    error: Option<Error>,
}

/// The answer to a publish.
pub(super) fn read_publish(
    stream: Stream,
    subject: &str,
    bytes: usize,
    answer: &[u8],
) -> Result<u64, PublishError> {
    let unknown = |why: &dyn Display| PublishError::Unknown(subject.to_owned(), why.to_string());
    let Stored { seq, error } = serde_json::from_slice(answer).map_err(|error| unknown(&error))?;
    let error = match (error, seq) {
        (Some(error), _) => error,
        (None, Some(sequence)) => return Ok(sequence),
        (None, None) => return Err(unknown(&"neither stored nor refused")),
    };
    let subject = subject.to_owned();
    let text = error.to_string();
    match error.error_code() {
        ErrorCode::STREAM_STORE_FAILED if text.contains("maximum messages per subject") => {
            Err(PublishError::Occupied(subject))
        }
        ErrorCode::STREAM_STORE_FAILED if text.contains("maximum messages") => {
            Err(PublishError::Full(stream.name()))
        }
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Err(PublishError::TooLarge { subject, bytes }),
        _ => Err(PublishError::Unknown(subject, text)),
    }
}

/// The answer to a question for a stream's state.
pub(super) fn read_info(stream: Stream, answer: &[u8]) -> Result<StreamInfo, BusError> {
    let unavailable = |why: String| BusError::Unavailable("a stream's state", why);
    match serde_json::from_slice::<Response<StreamInfo>>(answer) {
        Ok(Response::Ok(info)) => Ok(info),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Err(BusError::Missing(stream.name().to_owned()))
        }
        Ok(Response::Err { error }) => Err(unavailable(error.to_string())),
        Err(error) => Err(unavailable(error.to_string())),
    }
}

/// Number of deliveries and sequence, from the reply subject of a delivery, in both of its forms:
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.<..>.<time>.<pending>`.
pub(super) fn read_reply(reply: &str) -> Option<(u64, u64)> {
    let tokens: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
    let skipped = if tokens.len() >= 9 { 4 } else { 2 };
    let [delivered, sequence, ..] = tokens.get(skipped..)? else {
        return None;
    };
    Some((delivered.parse().ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u64, text: &str) -> PublishError {
        let json =
            format!(r#"{{"error":{{"code":503,"err_code":{code},"description":"{text}"}}}}"#);
        read_publish(Stream::Plans, "s", 9, json.as_bytes()).unwrap_err()
    }

    #[test]
    fn refusals_are_told_apart() {
        let occupied = refusal(10077, "maximum messages per subject exceeded");
        assert_eq!(occupied, PublishError::Occupied("s".to_owned()));
        assert_eq!(
            refusal(10077, "maximum messages exceeded"),
            PublishError::Full("PLANS")
        );
        let large = PublishError::TooLarge {
            subject: "s".to_owned(),
            bytes: 9,
        };
        assert_eq!(
            refusal(10054, "message size exceeds maximum allowed"),
            large
        );
        assert!(matches!(
            refusal(10023, "insufficient resources"),
            PublishError::Unknown(..)
        ));
        let noise = read_publish(Stream::Plans, "s", 9, b"what");
        assert!(matches!(noise, Err(PublishError::Unknown(..))));
        let neither = read_publish(Stream::Plans, "s", 9, br#"{"stream":"PLANS"}"#);
        assert!(matches!(neither, Err(PublishError::Unknown(_, why)) if why.contains("neither")));
        let stored = read_publish(Stream::Plans, "s", 9, br#"{"stream":"PLANS","seq":7}"#);
        assert_eq!(stored, Ok(7));
    }

    #[test]
    fn both_forms_of_reply_subjects_are_read() {
        let short = "$JS.ACK.PLANS.executor.2.41.7.1700000000000000000.3";
        assert_eq!(read_reply(short), Some((2, 41)));
        let long = "$JS.ACK._.hash.PLANS.executor.2.41.7.1700000000000000000.3.rnd";
        assert_eq!(read_reply(long), Some((2, 41)));
        assert_eq!(read_reply("_INBOX.x"), None);
    }

    #[test]
    fn a_missing_stream_is_no_outage() {
        let json = br#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let error = read_info(Stream::Events, json).unwrap_err();
        assert_eq!(error, BusError::Missing("EVENTS".to_owned()));
    }
}
