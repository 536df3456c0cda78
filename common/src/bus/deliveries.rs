//! What the server sends to the inbox of a pull: deliveries, and how a request ended.
//!
//! Decides what a status means; never what is done about it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::StatusCode;

use super::answers::read_reply;
use super::connection::Connection;
use super::jetstream::JetStreamAcker;
use super::pull::unavailable;
use super::{BusError, Delivery};
use crate::record::ANSWER;
use crate::subject::Stream;

/// What a message of the server means for a pull.
pub(super) enum Step {
    Delivered(Box<Delivery>),
    /// The request has ended: nothing more is delivered for it.
    Ended,
    /// No delivery of a consumer: nothing that could be acknowledged.
    Nothing,
}

pub(super) fn read(
    connection: &Connection,
    stream: Stream,
    message: async_nats::Message,
) -> Result<Step, BusError> {
    let about = message.description.as_deref().unwrap_or_default();
    match message.status {
        None | Some(StatusCode::OK) => {
            let delivery = delivery(connection, stream, message);
            Ok(delivery.map_or(Step::Nothing, |one| Step::Delivered(Box::new(one))))
        }
        Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => Ok(Step::Ended),
        Some(StatusCode::NO_RESPONDERS) => Err(missing(stream)),
        Some(_) if about.contains("Consumer Deleted") => Err(missing(stream)),
        Some(status) => Err(unavailable(&format!("{status} {about}"))),
    }
}

fn missing(stream: Stream) -> BusError {
    let consumer = stream.consumer().unwrap_or_default();
    BusError::Missing(format!("consumer {consumer} of {}", stream.name()))
}

fn delivery(
    connection: &Connection,
    stream: Stream,
    message: async_nats::Message,
) -> Option<Delivery> {
    let reply = message.reply?.to_string();
    let (delivered, sequence) = read_reply(&reply)?;
    let mut headers = BTreeMap::new();
    for (name, values) in message.headers.iter().flat_map(async_nats::HeaderMap::iter) {
        if let Some(value) = values.first() {
            headers.insert(name.to_string(), value.to_string());
        }
    }
    Some(Delivery {
        stream,
        subject: message.subject.to_string(),
        reply: headers.get(ANSWER).cloned(),
        headers,
        body: message.payload.to_vec(),
        delivered,
        sequence,
        acker: Arc::new(JetStreamAcker {
            connection: connection.clone(),
            reply,
            stream,
        }),
    })
}
