//! What the streams hold, sampled from the server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use signalbox_common::bus::SharedBus;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::config::CommonArgs;
use signalbox_common::id::ObjectKey;
use signalbox_common::subject::{Stream, parse_flight};

/// The bus as an onlooker sees it.
#[derive(Clone)]
pub struct BusView {
    bus: SharedBus,
}

/// The highest numbers of a sampled stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Messages in the fullest of the work streams.
    pub stream: u64,
    /// Flights at one time: objects with a message in any of the three, in two sweeps in a row. The three can't
    /// be read at one instant; what both sweeps show was there between them (an object's flights are
    /// further apart than two sweeps).
    pub flights: u64,
    /// Samples taken.
    pub samples: u64,
}

impl BusView {
    /// Connects as reader.
    ///
    /// # Panics
    /// If the bus can't be reached.
    pub async fn connect(args: &CommonArgs) -> Self {
        let bus = JetStreamBus::connect(args, Role::Reader)
            .await
            .expect("the bus is there");
        Self { bus }
    }

    /// Messages stored in a stream so far.
    ///
    /// # Panics
    /// If the bus can't be reached.
    pub async fn last_sequence(&self, stream: Stream) -> u64 {
        self.bus
            .state(stream)
            .await
            .expect("a stream has a state")
            .last_sequence
    }

    /// Messages stored in the three work streams so far.
    pub async fn work_messages(&self) -> u64 {
        let mut sum = 0;
        for stream in Stream::FLIGHTS {
            sum += self.last_sequence(stream).await;
        }
        sum
    }

    /// Whether the three work streams are there: a server that was started again has none until they are made.
    ///
    /// # Errors
    /// What is missing.
    pub async fn is_there(&self) -> Result<(), String> {
        for stream in Stream::FLIGHTS {
            let state = self.bus.state(stream).await;
            state.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Messages now in the three work streams.
    ///
    /// # Panics
    /// If the bus can't be reached.
    pub async fn open(&self) -> u64 {
        let mut sum = 0;
        for stream in Stream::FLIGHTS {
            sum += self
                .bus
                .state(stream)
                .await
                .expect("a stream has a state")
                .messages;
        }
        sum
    }

    /// Whether nothing is under way: every place of the three work streams is free.
    ///
    /// # Errors
    /// How many messages they hold.
    pub async fn is_free(&self) -> Result<(), String> {
        match self.open().await {
            0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    }

    /// Samples the three work streams as often as it can, until [`Sampler::finish`].
    #[must_use]
    pub fn sample(&self) -> Sampler {
        self.sample_every(Duration::from_millis(20))
    }

    /// The same with another pause between two samples: each is six questions to NATS.
    #[must_use]
    pub fn sample_every(&self, pause: Duration) -> Sampler {
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn(run(self.bus.clone(), Arc::clone(&shared), pause));
        Sampler { shared, task }
    }
}

#[derive(Default)]
struct Shared {
    done: AtomicBool,
    stream: AtomicU64,
    flights: AtomicU64,
    samples: AtomicU64,
}

/// A running sampler.
pub struct Sampler {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Sampler {
    /// Ends the sampling.
    ///
    /// # Panics
    /// If the sampler failed.
    pub async fn finish(self) -> Peak {
        self.shared.done.store(true, Ordering::Relaxed);
        self.task.await.expect("the sampler ends");
        Peak {
            stream: self.shared.stream.load(Ordering::Relaxed),
            flights: self.shared.flights.load(Ordering::Relaxed),
            samples: self.shared.samples.load(Ordering::Relaxed),
        }
    }
}

async fn run(bus: SharedBus, shared: Arc<Shared>, pause: Duration) {
    while !shared.done.load(Ordering::Relaxed) {
        let before = sweep(&bus, &shared).await;
        let objects = sweep(&bus, &shared).await;
        let objects: Vec<_> = objects.intersection(&before).collect();
        let flights = u64::try_from(objects.len()).unwrap_or(u64::MAX);
        shared.flights.fetch_max(flights, Ordering::Relaxed);
        shared.samples.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
    }
}

/// Objects with a message in any of the three streams.
async fn sweep(bus: &SharedBus, shared: &Shared) -> BTreeSet<ObjectKey> {
    let mut objects = BTreeSet::new();
    for stream in Stream::FLIGHTS {
        // While the bus is away there is nothing to count.
        let Ok(subjects) = bus.subjects(stream).await else {
            continue;
        };
        shared
            .stream
            .fetch_max(subjects.values().sum(), Ordering::Relaxed);
        objects.extend(
            subjects
                .keys()
                .filter_map(|s| parse_flight(s))
                .map(|parsed| parsed.1),
        );
    }
    objects
}
