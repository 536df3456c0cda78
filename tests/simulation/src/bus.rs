//! A part's line to the bus: the bus in memory, behind the net; and what must be true of every message.
//!
//! Decides nothing about streams: that is the bus's own, which passes the contract suite of the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Arguments};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use signalbox_common::bus::memory::MemoryBus;
use signalbox_common::bus::{
    Acker, Bus, BusError, Delivery, Message, PublishError, SharedBus, StreamState,
};
use signalbox_common::part::Part;
use signalbox_common::record::RECONCILE_ID;
use signalbox_common::subject::{Stream, parse_flight};
use tokio::time::Instant;

use crate::net::{Doing, Net, Passage, Side, Verdict};
use crate::oracle::records::Records;

/// Most flights: objects with a message on one of the three streams.
const BACKLOG: usize = 50;

/// A message that was longer than this on its way left a process that stood still (delays are far shorter, a line
/// that is cut ends them). Another watcher may lead by then, for a Lease holds no longer, and nothing calls back what
/// has been sent: such an Event is bounded by its stream's limit alone.
const LATE: Duration = Duration::from_millis(2800);

/// The bus of a simulation.
pub struct SimulatedBus {
    /// The streams.
    pub memory: Arc<MemoryBus>,
    net: Arc<Net>,
    records: Arc<Records>,
    /// Flights that no watcher knows of: their Outcome was taken, or their Event came [`LATE`].
    uncounted: Mutex<BTreeSet<String>>,
}

impl SimulatedBus {
    /// An empty one.
    #[must_use]
    pub fn new(net: Arc<Net>, records: Arc<Records>) -> Arc<Self> {
        Arc::new(Self {
            memory: MemoryBus::new(),
            net,
            records,
            uncounted: Mutex::default(),
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

    /// Messages that somebody still has to take.
    #[must_use]
    pub fn backlog(&self) -> usize {
        let queues = Stream::FLIGHTS.into_iter().chain([Stream::Triggers]);
        queues.map(|stream| self.memory.count(stream)).sum()
    }

    fn uncounted(&self) -> MutexGuard<'_, BTreeSet<String>> {
        let uncounted = self.uncounted.lock();
        uncounted.unwrap_or_else(PoisonError::into_inner)
    }

    /// Flights whose Outcome no watcher has taken. The last message of a flight may lie a moment longer: its
    /// holder still records the result.
    fn open_flights(&self) -> usize {
        let uncounted = self.uncounted();
        let messages = Stream::FLIGHTS
            .into_iter()
            .flat_map(|stream| self.memory.messages(stream));
        let flights: BTreeSet<String> = messages
            .filter_map(|message| message.headers.get(RECONCILE_ID).cloned())
            .filter(|id| !uncounted.contains(id))
            .collect();
        flights.len()
    }

    /// Looks at a message before it is stored.
    fn inspect(&self, part: &Part, message: &Message) {
        let told = message.headers.values().map(String::as_bytes);
        let mut told = told.chain([message.body.as_slice()]);
        if told.any(|text| self.records.leaks(text)) {
            self.net.broken(format!(
                "{} sends a secret on {}",
                part.name(),
                message.subject
            ));
        }
        if message.stream == Stream::Plans {
            let id = message.headers.get(RECONCILE_ID);
            let id = id.map(String::as_str).unwrap_or_default();
            for entry in ["event", "plan"] {
                if !self.records.has(id, entry) {
                    let subject = &message.subject;
                    self.net.broken(format!(
                        "a plan of flight {id} on {subject} before its {entry} is on record"
                    ));
                }
            }
        }
    }

    /// Looks at the streams after a message was stored in one of the three.
    fn count(&self) {
        let counts = Stream::FLIGHTS.map(|stream| self.memory.count(stream));
        for (stream, count) in Stream::FLIGHTS.into_iter().zip(counts) {
            if count > BACKLOG {
                self.net
                    .broken(format!("{count} messages on {}", stream.name()));
            }
        }
        if counts.iter().sum::<usize>() <= BACKLOG {
            return;
        }
        let messages = Stream::FLIGHTS
            .into_iter()
            .flat_map(|stream| self.memory.messages(stream));
        let objects: BTreeSet<_> = messages
            .filter_map(|message| parse_flight(&message.subject))
            .collect();
        if objects.len() > BACKLOG {
            let flights = self.open_flights();
            if flights > BACKLOG {
                self.net.broken(format!("{flights} flights"));
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
    fn doing(&self, effect: bool, what: Arguments<'_>) -> Doing {
        self.bus.net.doing(Side::Bus, effect, what)
    }

    async fn enter(&self, doing: Doing) -> Result<Passage, BusError> {
        match self.bus.net.enter(&self.part, doing).await {
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
        let (stream, subject) = (message.stream, message.subject.clone());
        let unknown = |error: BusError| PublishError::Unknown(subject.clone(), error.to_string());
        let doing = self.doing(true, format_args!("publish {subject}"));
        let left = Instant::now();
        let passage = self.enter(doing).await.map_err(unknown)?;
        if stream == Stream::Events && left.elapsed() > LATE {
            let id = message.headers.get(RECONCILE_ID).cloned();
            self.bus.uncounted().extend(id);
        }
        // What a flight came to is what one looks for in a trace.
        let came_to = self.bus.net.told(format_args!("{}", CameTo(&message)));
        let entry = (stream == Stream::Ledger).then(|| Message {
            body: Vec::new(),
            ..message.clone()
        });
        let stored = self.bus.memory.publish(message).await;
        if stored.is_ok() {
            match entry {
                Some(entry) => self.bus.records.note(&entry),
                None => self.bus.count(),
            }
        }
        let told = match &stored {
            Ok(sequence) => self
                .bus
                .net
                .told(format_args!("stored {sequence}{came_to}")),
            Err(error) => self.bus.net.told(format_args!("{error}")),
        };
        self.leave(passage, &told).await.map_err(unknown)?;
        stored
    }

    async fn take(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        let doing = self.doing(false, format_args!("fetch {}", stream.name()));
        let passage = self.enter(doing).await?;
        let mut taken = self.bus.memory.fetch(stream, max, wait).await?;
        let (lost, reorder) = self.bus.net.fetch_fault();
        for delivery in &taken {
            let (name, delivered) = (self.part.name(), delivery.delivered);
            let lost = if lost { " (lost)" } else { "" };
            self.bus.net.note(format_args!(
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
        if stream == Stream::Plans {
            for plan in &taken {
                let records = &self.bus.records;
                records.taken(self.part.name(), &plan.subject, &plan.body);
            }
        }
        if stream == Stream::Outcomes {
            let ids = taken.iter().filter_map(|one| one.headers.get(RECONCILE_ID));
            self.bus.uncounted().extend(ids.cloned());
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
        let doing = self.doing(false, format_args!("{what}"));
        let passage = self.enter(doing).await?;
        let read = read.await;
        self.leave(passage, "").await?;
        read
    }
}

/// The result of an Outcome; nothing of any other message.
struct CameTo<'a>(&'a Message);

impl fmt::Display for CameTo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.stream != Stream::Outcomes {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&self.0.body).unwrap_or_default();
        let result = body.get("result").unwrap_or(&Value::Null);
        write!(f, " {result}")
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
        if self.bus.records.leaks(&body) {
            let who = self.part.name();
            self.bus.net.broken(format!("{who} answers with a secret"));
        }
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
        let doing = self
            .line
            .doing(effect, format_args!("{what} {}", self.subject));
        let passage = self.line.enter(doing).await?;
        let done = done.await;
        self.line.leave(passage, "").await?;
        done
    }
}

impl Acker for OwnAcker {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        async {
            // Nobody answers: whoever sent it does not learn that it was lost.
            let _ = self.pass("ack", true, self.acker.ack()).await;
            Ok(())
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
