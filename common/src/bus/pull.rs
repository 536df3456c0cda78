//! One pull of a work queue: what is there now, else the first that comes.
//!
//! The request is one-shot (`no_wait` with an end): the server answers with what it has and closes the
//! request, so nothing is delivered to a pull that has ended. Its inbox serves the next pull, since each new
//! subscription costs the server what it knows of where messages go. Takes the durable consumer as it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::answers::read_reply;
use super::connection::Connection;
use super::jetstream::JetStreamAcker;
use super::{BusError, Delivery};
use crate::record::ANSWER;
use crate::subject::Stream;

/// How much later than asked for the server may end a request.
const GRACE: Duration = Duration::from_secs(1);
/// What follows a first delivery comes at once.
const BURST: Duration = Duration::from_millis(500);

/// Where pulls of one stream are answered, one after the other.
pub(super) struct Inbox {
    subscriber: Subscriber,
    /// Subject before the number of a request.
    prefix: String,
    /// Requests so far.
    asked: u64,
}

pub(super) struct Pull {
    connection: Connection,
    stream: Stream,
    inbox: Option<Inbox>,
    /// The server may still deliver to the last request.
    open: bool,
    taken: Vec<Delivery>,
}

/// What a message of the server means for a pull.
enum Step {
    Delivered,
    Ended,
    /// Other pulls wait for more than there is; only a waiting request gets its turn.
    Crowded,
}

impl Pull {
    /// `inbox`: the one of the pull before, if there is one.
    pub(super) const fn new(connection: Connection, stream: Stream, inbox: Option<Inbox>) -> Self {
        Self {
            connection,
            stream,
            inbox,
            open: false,
            taken: Vec::new(),
        }
    }

    /// What was taken so far, and what is already here.
    pub(super) fn drain(&mut self) -> Vec<Delivery> {
        while let Some(Some(message)) = self
            .inbox
            .as_mut()
            .and_then(|inbox| inbox.subscriber.next().now_or_never())
        {
            if let Ok((_, Some(delivery))) = read(&self.connection, self.stream, message) {
                self.taken.push(delivery);
            }
        }
        std::mem::take(&mut self.taken)
    }

    /// The inbox, for the next pull: unless this one may still be answered.
    pub(super) async fn end(&mut self) -> Option<Inbox> {
        let inbox = self.inbox.take();
        if !self.open {
            return inbox;
        }
        self.open = false;
        if let Some(mut inbox) = inbox {
            // A lost connection ends the subscription by itself.
            let _ = inbox.subscriber.unsubscribe().await;
        }
        None
    }

    pub(super) async fn take(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let Some(consumer) = self.stream.consumer() else {
            return Err(BusError::Missing(format!(
                "consumer of {}",
                self.stream.name()
            )));
        };
        if max == 0 {
            return Ok(Vec::new());
        }
        let up = self.connection.wait_until_up().await;
        up.map_err(|failure| failure.into_error("a fetch", self.stream.name()))?;
        let subject = format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}",
            self.stream.name()
        );
        let until = Instant::now() + wait;
        let refused = self.connection.refused(subject.clone());
        let connection = self.connection.clone();
        let pulled = tokio::select! {
            pulled = self.pull(&subject, max, until) => pulled,
            () = refused => Err(BusError::Forbidden(format!("to take from {}", self.stream.name()))),
            () = connection.down() => Err(unavailable("lost the connection")),
            () = sleep_until(until + GRACE) => Err(unavailable("no answer in time")),
        };
        match pulled {
            Err(error) if self.taken.is_empty() => Err(error),
            Ok(()) | Err(_) => Ok(self.drain()),
        }
    }

    async fn pull(&mut self, subject: &str, max: usize, until: Instant) -> Result<(), BusError> {
        match self.ask(subject, max, true, until).await? {
            Step::Crowded => self.ask(subject, 1, false, until).await.map(drop),
            Step::Delivered | Step::Ended => Ok(()),
        }
    }

    async fn ask(
        &mut self,
        subject: &str,
        max: usize,
        one_shot: bool,
        until: Instant,
    ) -> Result<Step, BusError> {
        let client = self.connection.client.clone();
        let mut inbox = match self.end().await {
            Some(inbox) => inbox,
            None => Inbox::open(&client).await?,
        };
        inbox.asked += 1;
        let reply = format!("{}.{}", inbox.prefix, inbox.asked);
        let subscriber = &mut self.inbox.insert(inbox).subscriber;
        // At least a moment: the server takes 0 for no end at all.
        let expires = until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        let body = format!(
            r#"{{"batch":{max},"expires":{},"no_wait":{one_shot}}}"#,
            expires.as_nanos()
        );
        self.open = true;
        let sent = client
            .publish_with_reply(subject.to_owned(), reply.clone(), body.into())
            .await;
        sent.map_err(|error| unavailable(&error.to_string()))?;
        // Whoever asks limits the wait for the first.
        let mut end = until + GRACE * 2;
        while self.taken.len() < max {
            let message = tokio::select! {
                message = subscriber.next() => message,
                () = sleep_until(end) => return Err(unavailable("no answer in time")),
            };
            let message = message.ok_or_else(|| unavailable("lost the subscription"))?;
            let is_own = message.subject.as_str() == reply;
            match read(&self.connection, self.stream, message)? {
                (Step::Delivered, Some(delivery)) => {
                    self.taken.push(delivery);
                    end = end.min(Instant::now() + BURST);
                }
                (step @ (Step::Ended | Step::Crowded), _) if is_own => {
                    self.open = false;
                    return Ok(step);
                }
                // Nothing to take, or the end of a request that had all it asked for.
                (Step::Delivered, None) | (Step::Ended | Step::Crowded, _) => {}
            }
        }
        self.open = false;
        Ok(Step::Delivered)
    }
}

impl Inbox {
    async fn open(client: &async_nats::Client) -> Result<Self, BusError> {
        let prefix = client.new_inbox();
        let subscriber = client.subscribe(format!("{prefix}.*")).await;
        Ok(Self {
            subscriber: subscriber.map_err(|error| unavailable(&error.to_string()))?,
            prefix,
            asked: 0,
        })
    }
}

fn unavailable(why: &str) -> BusError {
    BusError::Unavailable("a fetch", why.to_owned())
}

fn read(
    connection: &Connection,
    stream: Stream,
    message: async_nats::Message,
) -> Result<(Step, Option<Delivery>), BusError> {
    let about = message.description.as_deref().unwrap_or_default();
    match message.status {
        None | Some(StatusCode::OK) => Ok((Step::Delivered, delivery(connection, stream, message))),
        Some(StatusCode::TIMEOUT) if about.contains("Requests Pending") => {
            Ok((Step::Crowded, None))
        }
        Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => Ok((Step::Ended, None)),
        Some(StatusCode::NO_RESPONDERS) => Err(missing(stream)),
        Some(_) if about.contains("Consumer Deleted") => Err(missing(stream)),
        Some(status) => Err(unavailable(&format!("{status} {about}"))),
    }
}

fn missing(stream: Stream) -> BusError {
    let consumer = stream.consumer().unwrap_or_default();
    BusError::Missing(format!("consumer {consumer} of {}", stream.name()))
}

/// None if it is no delivery of a consumer: nothing that could be acknowledged.
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
