//! The bus: what the parts need of JetStream, as a trait with two implementations.
//!
//! [`jetstream`] talks to real servers; [`memory`] serves the contract suite and simulations, never
//! integration tests. Both pass the suite in [`contract`]. Limits are decided in [`limits`] alone.

mod answers;
mod connection;
pub mod contract;
mod deliveries;
pub mod ensure;
pub mod heartbeat;
pub mod jetstream;
pub mod limits;
pub mod memory;
mod memory_queue;
mod pull;
pub mod rights;
pub mod signature;
pub mod signed;
mod streams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::breaker::Standing;
use crate::class::{Classify, ErrorClass};
use crate::subject::Stream;

/// A bus shared by tasks.
pub type SharedBus = Arc<dyn Bus>;

/// What the parts need of JetStream.
pub trait Bus: Send + Sync + 'static {
    /// Stores a message; done when the server has acknowledged it.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<u64, PublishError>>;

    /// Takes up to `max` messages of a work queue, waiting up to `wait` for the first. Behind a fetch that brought
    /// some, the rest of `max` may be delivered already: whoever fetches once fetches on, or leaves.
    fn fetch(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Vec<Delivery>, BusError>>;

    /// Takes nothing more from a stream: what was delivered for the next fetch is given back.
    fn leave(&self, stream: Stream) -> BoxFuture<'_, ()> {
        let _ = stream;
        std::future::ready(()).boxed()
    }

    /// Subjects that hold messages (queued or delivered), each with its number of messages.
    fn subjects(&self, stream: Stream) -> BoxFuture<'_, Result<BTreeMap<String, u64>, BusError>>;

    /// State of a stream.
    fn state(&self, stream: Stream) -> BoxFuture<'_, Result<StreamState, BusError>>;

    /// Sends a plain message (an answer to somebody who waits); kept by nobody. Done when it is sent:
    /// whether somebody listens, or the server refuses it, does not show.
    fn answer(&self, subject: String, body: Vec<u8>) -> BoxFuture<'_, Result<(), BusError>>;

    /// Whether something may be tried again soon; else the budget is used up, and it is tried again late.
    fn may_retry(&self) -> bool {
        true
    }

    /// Breaker and retry budget before the server; none: there is no server.
    fn standing(&self) -> Option<Standing> {
        None
    }
}

/// A message to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Stream that is meant; the server refuses if another one captures the subject.
    pub stream: Stream,
    /// Subject.
    pub subject: String,
    /// Headers: `CloudEvents` attributes, trace context.
    pub headers: BTreeMap<String, String>,
    /// Body, JSON.
    pub body: Vec<u8>,
    /// `Nats-Msg-Id`; LEDGER only.
    pub msg_id: Option<String>,
}

/// A delivered message. Dropped without an acknowledgement it comes again after the ack wait.
pub struct Delivery {
    /// Stream it is from.
    pub stream: Stream,
    /// Subject.
    pub subject: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
    /// How often it was delivered, from 1.
    pub delivered: u64,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Where an answer is expected, if anywhere.
    pub reply: Option<String>,
    /// Acknowledges it.
    pub acker: Arc<dyn Acker>,
}

/// Acknowledges one delivery.
pub trait Acker: Send + Sync + 'static {
    /// Done with it; returns when it is sent. Nobody answers: if it is lost with the connection, the message comes
    /// again after the ack wait.
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>>;
    /// Gives it back at once, for shutdown only; returns when the server has confirmed.
    fn nak(&self) -> BoxFuture<'_, Result<(), BusError>>;
    /// Still working: the ack wait starts anew; returns when the server has confirmed.
    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>>;
}

/// State of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// Messages, queued and delivered.
    pub messages: u64,
    /// First sequence.
    pub first_sequence: u64,
    /// Last sequence ever stored; a lower one than before means that the stream was rewound.
    pub last_sequence: u64,
    /// When the stream was made; another time than before means that it was lost and made anew.
    pub created: Timestamp,
}

/// Why a message was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The subject's one place is taken (queued or in flight).
    #[error("the subject {0} has a message already")]
    Occupied(String),
    /// The stream's 50 places are taken.
    #[error("the stream {0} is full")]
    Full(&'static str),
    /// The message is larger than the server takes.
    #[error("the message on {subject} has {bytes} bytes, more than the bus takes")]
    TooLarge {
        /// Subject.
        subject: String,
        /// Size of the body.
        bytes: usize,
    },
    /// It may be stored or not: no answer in time, no leader, connection lost.
    #[error("no answer from the bus on {0}: {1}")]
    Unknown(String, String),
    /// The identity may not publish there.
    #[error("not allowed to publish on {0}")]
    Forbidden(String),
}

/// Why the bus could not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// No connection, no leader, no answer in time.
    #[error("failed to reach the bus for {0}: {1}")]
    Unavailable(&'static str, String),
    /// The stream or consumer does not exist: `signalbox bus ensure` makes it.
    #[error("the bus has no {0} (make it with `signalbox bus ensure`)")]
    Missing(String),
    /// The identity lacks the right.
    #[error("not allowed: {0}")]
    Forbidden(String),
}

impl Classify for PublishError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Occupied(_) | Self::Full(_) => ErrorClass::Throttled,
            Self::TooLarge { .. } => ErrorClass::Invalid,
            Self::Unknown(..) => ErrorClass::Transient,
            Self::Forbidden(_) => ErrorClass::Forbidden,
        }
    }
}

impl Classify for BusError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable(..) => ErrorClass::Transient,
            Self::Missing(_) => ErrorClass::Missing,
            Self::Forbidden(_) => ErrorClass::Forbidden,
        }
    }
}
