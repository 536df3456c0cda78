//! The bus over a real nats-server with JetStream.
//!
//! Makes no stream and no consumer, and changes none. No call waits much longer than it was told, also
//! when the server dies. Which refusal is which error is decided in [`super::answers`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::answers::{StreamInfo, read_info, read_publish};
use super::connection::{Connection, Failure};
use super::limits::ANSWER_WITHIN;
use super::memory_queue::check;
use super::pull::{Inbox, Pull};
use super::rights::Role;
use super::{
    Acker, Bus, BusError, Delivery, Message, PublishError, SharedBus, StreamState, signed,
};
use crate::breaker::Standing;
use crate::config::CommonArgs;
use crate::subject::Stream;

/// The bus over a real nats-server.
pub struct JetStreamBus {
    pub(super) connection: Connection,
    /// Where the last pull of each stream was answered; with the one that is under way meanwhile.
    inboxes: Arc<Mutex<HashMap<Stream, Inbox>>>,
}

impl JetStreamBus {
    /// Connects as `role`, with the nkey of the arguments; signs and checks with the keys that they name.
    pub async fn connect(args: &CommonArgs, role: Role) -> Result<SharedBus, BusError> {
        signed::with_keys(Self::with_args(args, &role).await?, args).await
    }

    /// Connects without signatures, as its own type.
    pub async fn with_args(args: &CommonArgs, role: &Role) -> Result<Arc<Self>, BusError> {
        let seed = match &args.nkey_file {
            Some(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    BusError::Forbidden(format!("failed to read {}: {error}", path.display()))
                })?;
                Some(text.trim().to_owned())
            }
            None => None,
        };
        Self::open(&args.nats_url, seed, role, &args.instance).await
    }

    /// Connects with a seed in memory; `instance` tells processes of a role apart.
    pub async fn open(
        url: &str,
        seed: Option<String>,
        role: &Role,
        instance: &str,
    ) -> Result<Arc<Self>, BusError> {
        let name = format!("signalbox-{role}-{instance}");
        Ok(Arc::new(Self {
            connection: Connection::open(url, seed, role, &name).await?,
            inboxes: Arc::default(),
        }))
    }

    /// The client, for what this trait does not offer, such as reading LEDGER.
    #[must_use]
    pub fn client(&self) -> async_nats::Client {
        self.connection.client.clone()
    }

    async fn store(&self, message: Message) -> Result<u64, PublishError> {
        check(&message)?;
        let Message {
            stream,
            subject,
            headers,
            body,
            msg_id,
        } = message;
        let bytes = body.len();
        let headers = header_map(stream, &headers, msg_id.as_deref());
        match self.connection.request(&subject, Some(headers), body).await {
            Ok(answer) => read_publish(stream, &subject, bytes, &answer.payload),
            Err(Failure::Refused) => Err(PublishError::Forbidden(subject)),
            Err(Failure::TooLarge) => Err(PublishError::TooLarge { subject, bytes }),
            Err(Failure::NoResponders) => {
                let why = "no stream takes it (make them with `signalbox bus ensure`)";
                Err(PublishError::Unknown(subject, why.to_owned()))
            }
            Err(Failure::Silent(why)) => Err(PublishError::Unknown(subject, why)),
        }
    }

    /// In a task of its own: when the caller goes away, what was taken meanwhile is given back.
    async fn take(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let connection = self.connection.clone();
        let inboxes = Arc::clone(&self.inboxes);
        let (mut sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            // None beside another pull of the same stream, which opens one of its own.
            let inbox = lock(&inboxes).remove(&stream);
            let mut pull = Pull::new(connection, stream, inbox);
            let taken = tokio::select! {
                taken = pull.take(max, wait) => taken,
                () = sender.closed() => Ok(pull.drain()),
            };
            if let Some(inbox) = pull.end().await {
                lock(&inboxes).insert(stream, inbox);
            }
            if let Err(Ok(unwanted)) = sender.send(taken) {
                for delivery in unwanted {
                    // Else it comes again after the ack wait.
                    let _ = delivery.acker.nak().await;
                }
            }
        });
        receiver.await.unwrap_or_else(|_| {
            Err(BusError::Unavailable(
                "a fetch",
                "its task ended".to_owned(),
            ))
        })
    }

    async fn info(&self, stream: Stream, offset: usize) -> Result<StreamInfo, BusError> {
        self.info_with(
            stream,
            format!(r#"{{"subjects_filter":">","offset":{offset}}}"#),
        )
        .await
    }

    async fn info_with(&self, stream: Stream, body: String) -> Result<StreamInfo, BusError> {
        let subject = format!("$JS.API.STREAM.INFO.{}", stream.name());
        let answer = self
            .connection
            .request(&subject, None, body.into_bytes())
            .await;
        let answer =
            answer.map_err(|failure| failure.into_error("a stream's state", stream.name()))?;
        read_info(stream, &answer.payload)
    }

    async fn all_subjects(&self, stream: Stream) -> Result<BTreeMap<String, u64>, BusError> {
        let mut all = BTreeMap::new();
        let mut seen = 0;
        loop {
            let info = self.info(stream, seen).await?;
            let page = info.state.subjects.unwrap_or_default();
            seen += page.len();
            let last = page.is_empty() || seen >= info.total;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }
}

fn lock(inboxes: &Mutex<HashMap<Stream, Inbox>>) -> MutexGuard<'_, HashMap<Stream, Inbox>> {
    inboxes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values that a header can't hold are left out: they come from names, and those are escaped.
fn header_map(
    stream: Stream,
    headers: &BTreeMap<String, String>,
    msg_id: Option<&str>,
) -> HeaderMap {
    let mut map = HeaderMap::new();
    let stream_name = ("Nats-Expected-Stream", stream.name());
    // On a work queue its window would swallow the object's next message.
    let id = msg_id
        .filter(|_| stream == Stream::Ledger)
        .map(|id| ("Nats-Msg-Id", id));
    let own = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain([stream_name]).chain(id) {
        match (
            name.parse::<async_nats::HeaderName>(),
            value.parse::<async_nats::HeaderValue>(),
        ) {
            (Ok(name), Ok(value)) => map.insert(name, value),
            (Err(_), _) | (_, Err(_)) => tracing::warn!(name, "left out a header"),
        }
    }
    map
}

impl Bus for JetStreamBus {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<u64, PublishError>> {
        self.store(message).boxed()
    }

    fn fetch(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, BusError>> {
        self.take(stream, max, wait).boxed()
    }

    fn subjects(&self, stream: Stream) -> BoxFuture<'_, Result<BTreeMap<String, u64>, BusError>> {
        self.all_subjects(stream).boxed()
    }

    fn state(&self, stream: Stream) -> BoxFuture<'_, Result<StreamState, BusError>> {
        async move { Ok(self.info_with(stream, String::new()).await?.into()) }.boxed()
    }

    fn answer(&self, subject: String, body: Vec<u8>) -> BoxFuture<'_, Result<(), BusError>> {
        async move {
            let silent = |why: String| BusError::Unavailable("an answer", why);
            let up = self.connection.wait_until_up().await;
            up.map_err(|failure| failure.into_error("an answer", &subject))?;
            let client = &self.connection.client;
            let sent = async {
                client
                    .publish(subject, body.into())
                    .await
                    .map_err(|e| silent(e.to_string()))?;
                client.flush().await.map_err(|e| silent(e.to_string()))
            };
            let within = tokio::time::timeout(ANSWER_WITHIN, sent).await;
            within.unwrap_or_else(|_| Err(silent("not sent in time".to_owned())))
        }
        .boxed()
    }

    fn may_retry(&self) -> bool {
        self.connection.guardian.may_retry()
    }

    fn standing(&self) -> Option<Standing> {
        Some(self.connection.guardian.standing())
    }
}

/// Acknowledges one delivery of a real server; each answer is waited for.
pub(super) struct JetStreamAcker {
    pub(super) connection: Connection,
    pub(super) reply: String,
    pub(super) stream: Stream,
}

impl JetStreamAcker {
    fn send(&self, kind: &'static str) -> BoxFuture<'_, Result<(), BusError>> {
        async move {
            let sent = self
                .connection
                .request(&self.reply, None, kind.into())
                .await;
            sent.map(drop).map_err(|failure| {
                let consumer = self.stream.consumer().unwrap_or_default();
                let missing = format!("consumer {consumer} of {}", self.stream.name());
                failure.into_error("an ack", &missing)
            })
        }
        .boxed()
    }
}

impl Acker for JetStreamAcker {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.send("+ACK")
    }

    fn nak(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.send("-NAK")
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.send("+WPI")
    }
}
