//! A part's line to the bus: the bus in memory, behind the net; and what must be true of every message.
//!
//! Decides nothing about streams: that is the bus's own, which passes the contract suite of the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use signalbox_common::bus::memory::MemoryBus;
use signalbox_common::bus::{
    Acker, Bus, BusError, Delivery, Message, PublishError, SharedBus, StreamState,
};
use signalbox_common::part::Part;
use signalbox_common::record::RECONCILE_ID;
use signalbox_common::subject::{Stream, parse_flight};

use crate::net::{Doing, Net, Passage, Side, Verdict, role};

/// Most flights: objects with a message on one of the three streams.
const BACKLOG: usize = 50;

/// The bus of a simulation.
pub struct SimulatedBus {
    /// The streams.
    pub memory: Arc<MemoryBus>,
    net: Arc<Net>,
    /// What is on record, by flight and type.
    recorded: Mutex<BTreeSet<(String, String)>>,
    /// Flights whose Outcome was taken.
    ended: Mutex<BTreeSet<String>>,
    /// Bytes that must never cross it.
    secret: Vec<u8>,
}

impl SimulatedBus {
    /// An empty one.
    #[must_use]
    pub fn new(net: Arc<Net>, secret: &str) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryBus::new(),
            net,
            recorded: Mutex::default(),
            ended: Mutex::default(),
            secret: secret.as_bytes().to_vec(),
        })
    }

    /// The line of a part.
    #[must_use]
    pub fn line(self: &Arc<Self>, part: &Part) -> SharedBus {
        Arc::new(Line {
            bus: self.clone(),
            part: part.clone(),
        })
    }

    /// Whether an entry of a flight is on record.
    #[must_use]
    pub fn has_recorded(&self, flight: &str, entry: &str) -> bool {
        let entry = (flight.to_owned(), format!("dev.signalbox.{entry}"));
        let recorded = self.recorded.lock();
        recorded
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&entry)
    }

    /// Messages on the three streams.
    pub async fn backlog(&self) -> u64 {
        let mut messages = 0;
        for stream in Stream::FLIGHTS {
            messages += self
                .memory
                .state(stream)
                .await
                .map_or(0, |state| state.messages);
        }
        messages
    }

    /// Flights whose Outcome no watcher has taken. The last message of a flight may lie a moment longer: its
    /// holder still records the result.
    fn open_flights(&self) -> usize {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = Stream::FLIGHTS
            .into_iter()
            .flat_map(|stream| self.memory.messages(stream));
        let flights: BTreeSet<String> = messages
            .filter_map(|message| message.headers.get(RECONCILE_ID).cloned())
            .filter(|id| !ended.contains(id))
            .collect();
        flights.len()
    }

    /// Looks at a message before it is stored.
    fn inspect(&self, part: &Part, message: &Message) {
        let secret = !self.secret.is_empty()
            && message
                .body
                .windows(self.secret.len())
                .any(|window| window == self.secret);
        if secret {
            self.net.broken(format!(
                "{} sends a secret on {}",
                part.name(),
                message.subject
            ));
        }
        if message.stream == Stream::Plans {
            let id = message
                .headers
                .get(RECONCILE_ID)
                .cloned()
                .unwrap_or_default();
            let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in ["event", "plan"] {
                if !recorded.contains(&(id.clone(), format!("dev.signalbox.{entry}"))) {
                    let subject = &message.subject;
                    self.net.broken(format!(
                        "a plan of flight {id} on {subject} before its {entry} is on record"
                    ));
                }
            }
        }
    }

    /// Looks at the streams after a message was stored.
    async fn stored(&self, message: &Message) {
        if message.stream == Stream::Ledger {
            let id = message
                .headers
                .get(RECONCILE_ID)
                .cloned()
                .unwrap_or_default();
            let entry = message.headers.get("ce-type").cloned().unwrap_or_default();
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.insert((id, entry));
        } else if Stream::FLIGHTS.contains(&message.stream) {
            let mut flights = BTreeSet::new();
            for stream in Stream::FLIGHTS {
                let subjects = self.memory.subjects(stream).await.unwrap_or_default();
                let keys = subjects
                    .into_keys()
                    .filter_map(|subject| parse_flight(&subject));
                flights.extend(keys);
            }
            if flights.len() > BACKLOG {
                let flights = self.open_flights();
                if flights > BACKLOG {
                    self.net.broken(format!("{flights} flights"));
                }
            }
        }
    }
}

/// A part's line to the bus.
struct Line {
    bus: Arc<SimulatedBus>,
    part: Part,
}

impl Line {
    async fn enter(&self, what: String, effect: bool) -> Result<Passage, BusError> {
        match self
            .bus
            .net
            .enter(&self.part, Doing::of_bus(what, effect))
            .await
        {
            Verdict::Pass(passage) => Ok(passage),
            Verdict::Refuse(_) | Verdict::Reset => Err(unreachable()),
        }
    }

    async fn leave(&self, passage: Passage, result: &str) -> Result<(), BusError> {
        let left = self.bus.net.leave(&self.part, passage, result).await;
        left.map_err(|_lost| unreachable())
    }

    async fn send(&self, message: Message) -> Result<u64, PublishError> {
        self.bus.inspect(&self.part, &message);
        let subject = message.subject.clone();
        let unknown = |error: BusError| PublishError::Unknown(subject.clone(), error.to_string());
        let passage = self
            .enter(format!("publish {subject}"), true)
            .await
            .map_err(unknown)?;
        let stored = self.bus.memory.publish(message.clone()).await;
        if stored.is_ok() {
            self.bus.stored(&message).await;
        }
        let result = match &stored {
            Ok(sequence) => format!("stored {sequence}"),
            Err(error) => error.to_string(),
        };
        self.leave(passage, &result).await.map_err(unknown)?;
        stored
    }

    async fn take(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let passage = self
            .enter(format!("fetch {}", stream.name()), false)
            .await?;
        let mut taken = self.bus.memory.fetch(stream, max, wait).await?;
        let (lost, reorder) = self.bus.net.fetch_fault();
        for delivery in &taken {
            let (name, delivered) = (self.part.name(), delivery.delivered);
            let lost = if lost { " (lost)" } else { "" };
            self.bus.net.note(&format!(
                "{name} takes {} delivery {delivered}{lost}",
                delivery.subject
            ));
        }
        self.leave(passage, "").await?;
        if lost || self.bus.net.is_cut(&self.part, Side::Bus) {
            return Err(unreachable());
        }
        if reorder {
            self.bus.net.chance(|random| random.shuffle(&mut taken));
        }
        if stream == Stream::Outcomes {
            let mut ended = self
                .bus
                .ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            ended.extend(
                taken
                    .iter()
                    .filter_map(|one| one.headers.get(RECONCILE_ID).cloned()),
            );
        }
        let own = |delivery: Delivery| Delivery {
            acker: Arc::new(OwnAcker {
                line: Self {
                    bus: self.bus.clone(),
                    part: self.part.clone(),
                },
                subject: delivery.subject.clone(),
                acker: delivery.acker,
            }),
            ..delivery
        };
        Ok(taken.into_iter().map(own).collect())
    }

    async fn look<T>(
        &self,
        what: &str,
        read: impl Future<Output = Result<T, BusError>>,
    ) -> Result<T, BusError> {
        let passage = self.enter(what.to_owned(), false).await?;
        let read = read.await;
        self.leave(passage, "").await?;
        read
    }
}

fn unreachable() -> BusError {
    BusError::Unavailable("the simulation", "a fault".to_owned())
}

impl Bus for Line {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<u64, PublishError>> {
        self.send(message).boxed()
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
        self.look("subjects", self.bus.memory.subjects(stream))
            .boxed()
    }

    fn state(&self, stream: Stream) -> BoxFuture<'_, Result<StreamState, BusError>> {
        self.look("state", self.bus.memory.state(stream)).boxed()
    }

    fn answer(&self, subject: String, body: Vec<u8>) -> BoxFuture<'_, Result<(), BusError>> {
        self.look("answer", self.bus.memory.answer(subject, body))
            .boxed()
    }
}

/// Acknowledges through the net.
struct OwnAcker {
    line: Line,
    subject: String,
    acker: Arc<dyn Acker>,
}

impl OwnAcker {
    async fn pass(
        &self,
        what: &str,
        effect: bool,
        done: impl Future<Output = Result<(), BusError>>,
    ) -> Result<(), BusError> {
        let passage = self
            .line
            .enter(format!("{what} {}", self.subject), effect)
            .await?;
        let done = done.await;
        self.line.leave(passage, "").await?;
        done
    }
}

impl Acker for OwnAcker {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            self.pass("ack", true, async { self.acker.ack().await })
                .await
        }
        .boxed()
    }

    fn nak(&self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            self.pass("nak", false, async { self.acker.nak().await })
                .await
        }
        .boxed()
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            self.pass("extend", false, async { self.acker.in_progress().await })
                .await
        }
        .boxed()
    }
}

/// The role of a part, for messages.
#[must_use]
pub fn role_of(part: &Part) -> &str {
    role(part.name())
}
