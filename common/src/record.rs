//! The envelope of messages: `CloudEvents` attributes as headers, ids of ledger entries, reasons in DEAD.
//!
//! Decides no body. Attributes follow CloudEvents 1.0 in NATS binary mode, with the prefix `ce-`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jiff::Timestamp;

use crate::bus::Message;
use crate::bus::limits::MAX_MESSAGE;
use crate::id::{ObjectKey, ReconcileId};
use crate::subject::{self, Stream};
use crate::{clock, telemetry};

/// Header with the reconcile id of the flight.
pub const RECONCILE_ID: &str = "sb-reconcile-id";
/// Header of DEAD: why the message could not be used.
pub const REASON: &str = "sb-reason";
/// Header of a trigger: the subject on which its sender waits for an answer.
pub const ANSWER: &str = "sb-answer";
/// Longest reason.
const MAX_REASON: usize = 1024;

static SOURCE: OnceLock<String> = OnceLock::new();

/// Sets the `ce-source` of this process, once.
pub fn set_source(part: &str, instance: &str) {
    SOURCE.get_or_init(|| source(part, instance));
}

/// `/signalbox/<part>/<instance>`
#[must_use]
pub fn source(part: &str, instance: &str) -> String {
    format!("/signalbox/{part}/{}", subject::escape(instance))
}

/// `CloudEvents` attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Unique with the source.
    pub id: &'a str,
    /// Who sends.
    pub source: &'a str,
    /// `dev.signalbox.<entry>`: what it is.
    pub entry: &'a str,
    /// The object that it is about.
    pub subject: &'a str,
    /// When.
    pub time: Timestamp,
    /// The flight, if it belongs to one.
    pub reconcile_id: Option<ReconcileId>,
}

/// The headers of a message: `CloudEvents` attributes, trace context, reconcile id.
#[must_use]
pub fn headers(attributes: &Attributes<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::from([
        ("content-type".to_owned(), "application/json".to_owned()),
        ("ce-specversion".to_owned(), "1.0".to_owned()),
        ("ce-id".to_owned(), attributes.id.to_owned()),
        ("ce-source".to_owned(), attributes.source.to_owned()),
        (
            "ce-type".to_owned(),
            format!("dev.signalbox.{}", attributes.entry),
        ),
        ("ce-subject".to_owned(), attributes.subject.to_owned()),
        ("ce-time".to_owned(), attributes.time.to_string()),
    ]);
    if let Some(id) = attributes.reconcile_id {
        headers.insert(RECONCILE_ID.to_owned(), id.to_string());
    }
    telemetry::inject(&mut headers);
    headers
}

fn own_headers(
    id: &str,
    entry: &str,
    about: &str,
    reconcile_id: Option<ReconcileId>,
) -> BTreeMap<String, String> {
    let source = SOURCE.get().map_or("/signalbox", String::as_str);
    let time = clock::latest();
    headers(&Attributes {
        id,
        source,
        entry,
        subject: about,
        time,
        reconcile_id,
    })
}

/// A message of a flight: `stream` is one of EVENTS, PLANS and OUTCOMES; none for the others.
#[must_use]
pub fn flight_message(
    cluster: &str,
    stream: Stream,
    key: &ObjectKey,
    id: ReconcileId,
    body: Vec<u8>,
) -> Option<Message> {
    let (subject, entry) = match stream {
        Stream::Events => (subject::event(cluster, key), "event"),
        Stream::Plans => (subject::plan(cluster, key), "plan"),
        Stream::Outcomes => (subject::outcome(cluster, key), "outcome"),
        Stream::Triggers | Stream::Ledger | Stream::Dead => return None,
    };
    let headers = own_headers(&format!("{id}/{entry}"), entry, &key.to_string(), Some(id));
    Some(Message {
        stream,
        subject,
        headers,
        body,
        msg_id: None,
    })
}

/// An entry of LEDGER. The same reconcile id and type within two minutes are stored once.
#[must_use]
pub fn ledger_message(
    cluster: &str,
    entry: &str,
    key: &ObjectKey,
    id: ReconcileId,
    body: Vec<u8>,
) -> Message {
    ledger(cluster, entry, key, id, format!("{id}/{entry}"), body)
}

/// An entry of LEDGER of which one flight may have several, told apart by `extra` (a step's id).
#[must_use]
pub fn ledger_message_of(
    cluster: &str,
    entry: &str,
    extra: &str,
    key: &ObjectKey,
    id: ReconcileId,
    body: Vec<u8>,
) -> Message {
    ledger(
        cluster,
        entry,
        key,
        id,
        format!("{id}/{entry}/{extra}"),
        body,
    )
}

fn ledger(
    cluster: &str,
    entry: &str,
    key: &ObjectKey,
    id: ReconcileId,
    msg_id: String,
    body: Vec<u8>,
) -> Message {
    let subject = subject::ledger(cluster, entry, key);
    let headers = own_headers(&msg_id, entry, &key.to_string(), Some(id));
    Message {
        stream: Stream::Ledger,
        subject,
        headers,
        body,
        msg_id: Some(msg_id),
    }
}

/// A message that could not be used, with the reason, for DEAD.
#[must_use]
pub fn dead_message(stream: Stream, original: &str, reason: &str, mut body: Vec<u8>) -> Message {
    // What is too large for the bus is kept as far as it fits.
    body.truncate(MAX_MESSAGE);
    let about = subject::parse_flight(original).map(|(_, key)| key.to_string());
    let id = format!("{original}@{}", clock::now().as_nanosecond());
    let mut headers = own_headers(&id, "dead", about.as_deref().unwrap_or(original), None);
    headers.insert(REASON.to_owned(), one_line(reason));
    Message {
        stream: Stream::Dead,
        subject: subject::dead(stream, original),
        headers,
        body,
        msg_id: None,
    }
}

/// A header holds one line.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut end = line.len().min(MAX_REASON);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kind;
    use uuid::Uuid;

    fn key() -> ObjectKey {
        ObjectKey::new(Kind::PortfolioApp, "team-a", "web.v2")
    }

    #[test]
    fn a_ledger_entry_is_told_by_flight_and_type() {
        let id = ReconcileId(Uuid::nil());
        let message = ledger_message("c", "plan", &key(), id, b"{}".to_vec());
        assert_eq!(
            message.subject,
            "sb.ledger.c.plan.PortfolioApp.team-a.web=2Ev2"
        );
        assert_eq!(message.msg_id, Some(format!("{id}/plan")));
        assert_eq!(
            message.headers.get("ce-type").map(String::as_str),
            Some("dev.signalbox.plan")
        );
        assert_eq!(message.headers.get(RECONCILE_ID), Some(&id.to_string()));
        let step = ledger_message_of("c", "claim", "step-1", &key(), id, Vec::new());
        assert_eq!(step.msg_id, Some(format!("{id}/claim/step-1")));
    }

    #[test]
    fn flights_have_no_message_id() {
        let id = ReconcileId(Uuid::nil());
        let event = flight_message("c", Stream::Events, &key(), id, Vec::new()).unwrap();
        assert_eq!(event.msg_id, None);
        assert_eq!(event.headers.get("ce-subject"), Some(&key().to_string()));
        assert_eq!(
            flight_message("c", Stream::Ledger, &key(), id, Vec::new()),
            None
        );
    }

    #[test]
    fn a_reason_is_one_line() {
        let reason = format!("first\r\nsecond {}", "ü".repeat(2000));
        let message = dead_message(
            Stream::Plans,
            &subject::plan("c", &key()),
            &reason,
            Vec::new(),
        );
        assert_eq!(
            message.subject,
            "sb.dead.PLANS.sb.plan.c.PortfolioApp.team-a.web=2Ev2"
        );
        let kept = message.headers.get(REASON).unwrap();
        assert!(
            kept.starts_with("first  second") && kept.len() <= MAX_REASON,
            "{kept}"
        );
    }
}
