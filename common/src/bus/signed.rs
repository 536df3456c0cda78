//! A bus whose messages are signed by who writes them and checked by who reads them.
//!
//! A message that is refused goes into DEAD with the reason and is counted; whoever fetches never sees it. Its
//! object is not lost: the watcher finds the flight gone and observes anew.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use nkeys::KeyPair;
use prometheus::{IntCounterVec, Opts};

use super::signature::{Refusal, SIGNATURE, Trusted, sign, writers};
use super::{Bus, BusError, Delivery, Message, PublishError, SharedBus, StreamState};
use crate::breaker::Standing;
use crate::config::CommonArgs;
use crate::subject::Stream;
use crate::{clock, record};

/// Messages that are remembered, so that none is taken twice from two places.
const REMEMBERED: usize = 8_192;

/// Messages that were refused, by stream and reason, in this process.
pub static REFUSED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let about = Opts::new(
        "signalbox_bus_refused_messages_total",
        "Messages whose signature did not hold.",
    );
    IntCounterVec::new(about, &["stream", "reason"]).ok()
});

/// Signs and checks for a part; without keys it does neither.
pub struct SignedBus {
    inner: SharedBus,
    pair: Option<KeyPair>,
    trusted: Option<Trusted>,
    taken: Mutex<Taken>,
}

/// Signatures of messages, and the places that they were taken from. A signature is of one stream's subject, id,
/// time and body: two messages that somebody wrote have two.
#[derive(Default)]
struct Taken {
    places: HashMap<String, u64>,
    order: VecDeque<String>,
}

impl Taken {
    /// Whether a message may be taken from this place: it is new, or comes again from the same one.
    fn admits(&mut self, signature: &str, sequence: u64) -> bool {
        if let Some(known) = self.places.get(signature) {
            return *known == sequence;
        }
        self.places.insert(signature.to_owned(), sequence);
        self.order.push_back(signature.to_owned());
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        true
    }
}

/// The bus with the keys that the arguments name.
pub async fn with_keys(inner: SharedBus, args: &CommonArgs) -> Result<SharedBus, BusError> {
    let pair = match &args.signing_key_file {
        Some(path) => {
            let pair = KeyPair::from_seed(read(path).await?.trim());
            Some(pair.map_err(|error| unusable(path, &error.to_string()))?)
        }
        None => None,
    };
    let trusted = match &args.trusted_keys_file {
        Some(path) => {
            let trusted = Trusted::parse(&read(path).await?);
            Some(trusted.map_err(|error| unusable(path, &error))?)
        }
        None => None,
    };
    if trusted.is_none() {
        tracing::warn!("no trusted keys: whoever may write to the bus is believed");
    }
    Ok(Arc::new(SignedBus::new(inner, pair, trusted)))
}

async fn read(path: &Path) -> Result<String, BusError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|error| unusable(path, &error.to_string()))
}

fn unusable(path: &Path, why: &str) -> BusError {
    BusError::Forbidden(format!("the keys in {} are no use: {why}", path.display()))
}

impl SignedBus {
    /// A bus that signs with `pair` and believes `trusted`.
    #[must_use]
    pub fn new(inner: SharedBus, pair: Option<KeyPair>, trusted: Option<Trusted>) -> Self {
        Self {
            inner,
            pair,
            trusted,
            taken: Mutex::default(),
        }
    }

    fn check(&self, trusted: &Trusted, delivery: &Delivery) -> Result<(), Refusal> {
        let (stream, headers) = (delivery.stream, &delivery.headers);
        trusted.verify(
            stream,
            &delivery.subject,
            headers,
            &delivery.body,
            clock::earliest(),
        )?;
        let signature = headers.get(SIGNATURE).map_or("", String::as_str);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.admits(signature, delivery.sequence) {
            Ok(())
        } else {
            Err(Refusal::Replayed)
        }
    }

    /// Keeps a refused message in DEAD and frees its place; one that can't be kept comes again.
    async fn refuse(&self, delivery: Delivery, why: &Refusal) {
        let (stream, subject) = (delivery.stream, delivery.subject.as_str());
        tracing::warn!(stream = stream.name(), subject, reason = %why, "message refused");
        if let Some(refused) = &*REFUSED {
            refused
                .with_label_values(&[stream.name(), why.label()])
                .inc();
        }
        let reason = why.to_string();
        let dead = record::dead_message(stream, subject, &reason, delivery.body.clone());
        let kept = self.inner.publish(dead).await;
        let freed = match kept {
            Ok(_) => delivery
                .acker
                .ack()
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = freed {
            tracing::error!(error, "a refused message keeps its place");
        }
    }
}

impl Bus for SignedBus {
    fn publish(&self, mut message: Message) -> BoxFuture<'_, Result<u64, PublishError>> {
        if let Some(pair) = &self.pair
            && !writers(message.stream).is_empty()
        {
            match sign(pair, &message.subject, &message.headers, &message.body) {
                Ok(signature) => {
                    message.headers.insert(SIGNATURE.to_owned(), signature);
                }
                Err(why) => {
                    let unsigned = PublishError::Unknown(message.subject, why);
                    return std::future::ready(Err(unsigned)).boxed();
                }
            }
        }
        self.inner.publish(message)
    }

    fn fetch(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, BusError>> {
        let Some(trusted) = self
            .trusted
            .as_ref()
            .filter(|_| !writers(stream).is_empty())
        else {
            return self.inner.fetch(stream, max, wait);
        };
        async move {
            let (mut good, mut refused) = (Vec::new(), Vec::new());
            for delivery in self.inner.fetch(stream, max, wait).await? {
                match self.check(trusted, &delivery) {
                    Ok(()) => good.push(delivery),
                    Err(why) => refused.push((delivery, why)),
                }
            }
            // Side by side: what is good waits for no more than one of them.
            let refusing = refused
                .into_iter()
                .map(|(delivery, why)| async move { self.refuse(delivery, &why).await });
            join_all(refusing).await;
            Ok(good)
        }
        .boxed()
    }

    fn leave(&self, stream: Stream) -> BoxFuture<'_, ()> {
        self.inner.leave(stream)
    }

    fn subjects(&self, stream: Stream) -> BoxFuture<'_, Result<BTreeMap<String, u64>, BusError>> {
        self.inner.subjects(stream)
    }

    fn state(&self, stream: Stream) -> BoxFuture<'_, Result<StreamState, BusError>> {
        self.inner.state(stream)
    }

    fn answer(&self, subject: String, body: Vec<u8>) -> BoxFuture<'_, Result<(), BusError>> {
        self.inner.answer(subject, body)
    }

    fn may_retry(&self) -> bool {
        self.inner.may_retry()
    }

    fn standing(&self) -> Option<Standing> {
        self.inner.standing()
    }
}
