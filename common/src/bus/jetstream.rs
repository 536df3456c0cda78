//! The bus over a real nats-server with JetStream.
//!
//! Makes no stream and no consumer, and changes none. No call waits much longer than it was told, also
//! when the server dies. Which refusal is which error is decided in [`super::answers`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::HeaderMap;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::answers::{StreamInfo, read_info, read_publish};
use super::connection::{Connection, Failure};
use super::limits::ANSWER_WITHIN;
use super::memory_queue::check;
use super::pull::{self, Fetch, Wish, unavailable};
use super::rights::Role;
use super::{
    Acker, Bus, BusError, Delivery, Message, PublishError, SharedBus, StreamState, signed,
};
use crate::breaker::Standing;
use crate::config::CommonArgs;
use crate::part;
use crate::subject::Stream;

/// The bus over a real nats-server.
pub struct JetStreamBus {
    pub(super) connection: Connection,
    /// The task that takes from each stream.
    pulls: Mutex<HashMap<Stream, mpsc::UnboundedSender<Wish>>>,
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
            pulls: Mutex::default(),
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

    async fn take(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let Some(consumer) = stream.consumer() else {
            let missing = format!("consumer of {}", stream.name());
            return Err(BusError::Missing(missing));
        };
        if max == 0 {
            return Ok(Vec::new());
        }
        let (answer, taken) = oneshot::channel();
        let until = Instant::now() + wait;
        self.wish(stream, consumer, Wish::Take(Fetch { max, until, answer }));
        taken
            .await
            .unwrap_or_else(|_| Err(unavailable("its task ended")))
    }

    /// Asks the task that takes from a stream, which begins with the first wish.
    fn wish(&self, stream: Stream, consumer: &'static str, wish: Wish) {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        let pull = pulls.entry(stream).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            part::spawn(pull::serve(
                self.connection.clone(),
                stream,
                consumer,
                receiver,
            ));
            sender
        });
        // Without its task the wish is dropped, which its sender is told.
        let _ = pull.send(wish);
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

    fn leave(&self, stream: Stream) -> BoxFuture<'_, ()> {
        async move {
            let Some(consumer) = stream.consumer() else {
                return;
            };
            let (answer, left) = oneshot::channel();
            self.wish(stream, consumer, Wish::Leave(answer));
            // At the end nobody waits for a server that is away.
            let _ = tokio::time::timeout(ANSWER_WITHIN, left).await;
        }
        .boxed()
    }

    fn subjects(&self, stream: Stream) -> BoxFuture<'_, Result<BTreeMap<String, u64>, BusError>> {
        self.all_subjects(stream).boxed()
    }

    fn state(&self, stream: Stream) -> BoxFuture<'_, Result<StreamState, BusError>> {
        async move { Ok(self.info_with(stream, String::new()).await?.into()) }.boxed()
    }

    fn answer(&self, subject: String, body: Vec<u8>) -> BoxFuture<'_, Result<(), BusError>> {
        async move {
            let sent = self.connection.tell(&subject, body).await;
            sent.map_err(|failure| failure.into_error("an answer", &subject))
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

/// Acknowledges one delivery of a real server.
pub(super) struct JetStreamAcker {
    pub(super) connection: Connection,
    pub(super) reply: String,
    pub(super) stream: Stream,
}

impl JetStreamAcker {
    async fn ask(&self, kind: &'static str) -> Result<(), BusError> {
        let asked = self.connection.request(&self.reply, None, kind.into());
        asked.await.map(drop).map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> BusError {
        let consumer = self.stream.consumer().unwrap_or_default();
        let missing = format!("consumer {consumer} of {}", self.stream.name());
        failure.into_error("an ack", &missing)
    }
}

impl Acker for JetStreamAcker {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            let told = self.connection.tell(&self.reply, "+ACK".into()).await;
            told.map_err(|failure| self.error(failure))
        }
        .boxed()
    }

    fn nak(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.ask("-NAK").boxed()
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.ask("+WPI").boxed()
    }
}
