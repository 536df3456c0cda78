//! A bus in memory, with the semantics of the real one, for simulations and the contract suite.
//!
//! Time is tokio's, so a paused clock works. Loses messages only when told to. Never used by a part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::limits::ACK_WAIT;
use super::memory_queue::Queue;
use super::{Acker, Bus, BusError, Delivery, Message, PublishError, StreamState};
use crate::subject::Stream;

/// A bus in memory; see [`MemoryBus::new`].
#[derive(Default)]
pub struct MemoryBus {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: [(Stream, Notify); 6],
}

#[derive(Default)]
struct Inner {
    queues: BTreeMap<Stream, Queue>,
    answers: Vec<(String, Vec<u8>)>,
    down: bool,
}

impl Inner {
    fn queue(&mut self, stream: Stream) -> &mut Queue {
        self.queues.entry(stream).or_default()
    }

    fn up(&mut self, what: &'static str) -> Result<&mut Self, BusError> {
        if self.down {
            Err(BusError::Unavailable(what, "down".to_owned()))
        } else {
            Ok(self)
        }
    }
}

impl Default for Shared {
    fn default() -> Self {
        let all = [
            Stream::Events,
            Stream::Plans,
            Stream::Outcomes,
            Stream::Triggers,
            Stream::Ledger,
            Stream::Dead,
        ];
        Self {
            inner: Mutex::default(),
            changed: all.map(|stream| (stream, Notify::new())),
        }
    }
}

impl Shared {
    /// Wakes whoever waits for messages of a stream.
    fn tell(&self, stream: Stream) {
        let of = self.changed.iter().filter(|(of, _)| *of == stream);
        of.for_each(|(_, changed)| changed.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere leaves whole messages only.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryBus {
    /// A bus with all streams, empty; it serves as a [`super::SharedBus`].
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Loses a stream, which is made anew at once: another `created`, sequences from 1.
    pub fn wipe(&self, stream: Stream) {
        self.shared.lock().queue(stream).wipe();
        self.shared.tell(stream);
    }

    /// Takes a stream back to an earlier state: what came after `sequence` is gone.
    pub fn rewind(&self, stream: Stream, sequence: u64) {
        self.shared.lock().queue(stream).rewind(sequence);
        self.shared.tell(stream);
    }

    /// Loses the messages of one subject.
    pub fn lose(&self, stream: Stream, subject: &str) {
        self.shared.lock().queue(stream).lose(subject);
        self.shared.tell(stream);
    }

    /// While down, nothing is stored, delivered or acknowledged.
    pub fn set_down(&self, down: bool) {
        self.shared.lock().down = down;
        for (_, changed) in &self.shared.changed {
            changed.notify_waiters();
        }
    }

    /// What a stream holds, in order of sequence.
    #[must_use]
    pub fn messages(&self, stream: Stream) -> Vec<Message> {
        self.shared.lock().queue(stream).messages(stream)
    }

    /// How many messages a stream holds.
    #[must_use]
    pub fn count(&self, stream: Stream) -> usize {
        self.shared.lock().queue(stream).count()
    }

    /// The answers that were sent, in order.
    #[must_use]
    pub fn answers(&self) -> Vec<(String, Vec<u8>)> {
        self.shared.lock().answers.clone()
    }

    async fn take(
        &self,
        stream: Stream,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BusError> {
        if stream.consumer().is_none() {
            return Err(BusError::Missing(format!("consumer of {}", stream.name())));
        }
        let mut all = self.shared.changed.iter();
        let Some((_, news)) = all.find(|(of, _)| *of == stream) else {
            return Err(BusError::Missing(stream.name().to_owned()));
        };
        let until = Instant::now() + wait;
        loop {
            let changed = news.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let (taken, again) = {
                let mut inner = self.shared.lock();
                let queue = inner.up("a fetch")?.queue(stream);
                (self.deliveries(stream, queue, max, now), queue.next_due())
            };
            if !taken.is_empty() || now >= until {
                return Ok(taken);
            }
            let wake = again.map_or(until, |again| again.min(until));
            tokio::select! {
                biased;
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn deliveries(
        &self,
        stream: Stream,
        queue: &mut Queue,
        max: usize,
        now: Instant,
    ) -> Vec<Delivery> {
        let incarnation = queue.incarnation();
        let taken = queue.take(max, now, now + ACK_WAIT);
        let delivery = |(sequence, delivered, message): (u64, u64, Message)| Delivery {
            stream,
            reply: message.headers.get(crate::record::ANSWER).cloned(),
            subject: message.subject,
            headers: message.headers,
            body: message.body,
            delivered,
            sequence,
            acker: Arc::new(MemoryAcker {
                shared: self.shared.clone(),
                stream,
                sequence,
                incarnation,
            }),
        };
        taken.into_iter().map(delivery).collect()
    }
}

impl Bus for MemoryBus {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<u64, PublishError>> {
        async move {
            let stream = message.stream;
            let stored = {
                let mut inner = self.shared.lock();
                if inner.down {
                    return Err(PublishError::Unknown(message.subject, "down".to_owned()));
                }
                inner.queue(stream).store(message, Instant::now())
            };
            self.shared.tell(stream);
            stored
        }
        .boxed()
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
        let subjects = self
            .shared
            .lock()
            .up("subjects")
            .map(|up| up.queue(stream).subjects());
        std::future::ready(subjects).boxed()
    }

    fn state(&self, stream: Stream) -> BoxFuture<'_, Result<StreamState, BusError>> {
        let state = self
            .shared
            .lock()
            .up("a state")
            .map(|up| up.queue(stream).state());
        std::future::ready(state).boxed()
    }

    fn answer(&self, subject: String, body: Vec<u8>) -> BoxFuture<'_, Result<(), BusError>> {
        let sent = self
            .shared
            .lock()
            .up("an answer")
            .map(|up| up.answers.push((subject, body)));
        std::future::ready(sent).boxed()
    }
}

struct MemoryAcker {
    shared: Arc<Shared>,
    stream: Stream,
    sequence: u64,
    incarnation: u64,
}

impl MemoryAcker {
    /// An ack that comes after a loss changes nothing.
    fn with(&self, change: impl FnOnce(&mut Queue, u64)) -> BoxFuture<'_, Result<(), BusError>> {
        let done = self.shared.lock().up("an ack").map(|up| {
            let queue = up.queue(self.stream);
            if queue.incarnation() == self.incarnation {
                change(queue, self.sequence);
            }
        });
        self.shared.tell(self.stream);
        std::future::ready(done).boxed()
    }
}

impl Acker for MemoryAcker {
    fn ack(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.with(Queue::ack)
    }

    fn nak(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.with(|queue, sequence| queue.set_due(sequence, None))
    }

    fn in_progress(&self) -> BoxFuture<'_, Result<(), BusError>> {
        self.with(|queue, sequence| queue.set_due(sequence, Some(Instant::now() + ACK_WAIT)))
    }
}
