//! Runs the contract suite over both buses: in memory, and a real nats-server.
#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

mod server;

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use server::NatsServer;
use signalbox_common::bus::contract::{CASES, Fixture};
use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::memory::MemoryBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{BusError, SharedBus};
use signalbox_common::subject::Stream;

struct InMemory {
    bus: SharedBus,
    memory: Arc<MemoryBus>,
}

impl Fixture for InMemory {
    fn bus(&self) -> &SharedBus {
        &self.bus
    }

    fn lose(&self, stream: Stream) -> BoxFuture<'_, Result<(), BusError>> {
        self.memory.wipe(stream);
        std::future::ready(Ok(())).boxed()
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let broken = join_all(CASES.map(async |(name, case)| {
        let memory = MemoryBus::new();
        let fixture = InMemory {
            bus: memory.clone(),
            memory,
        };
        case(&fixture)
            .await
            .err()
            .map(|error| format!("{name}: {error}"))
    }));
    let broken: Vec<String> = broken.await.into_iter().flatten().collect();
    assert_eq!(broken, Vec::<String>::new());
}

struct Real {
    bus: SharedBus,
    own: Arc<JetStreamBus>,
}

impl Fixture for Real {
    fn bus(&self) -> &SharedBus {
        &self.bus
    }

    fn lose(&self, stream: Stream) -> BoxFuture<'_, Result<(), BusError>> {
        async move {
            let client = async_nats::jetstream::new(self.own.client());
            client.delete_stream(stream.name()).await.unwrap();
            ensure(&self.own, &EnsureArgs::default()).await.map(drop)
        }
        .boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jetstream_keeps_the_contract() {
    let server = NatsServer::start("contract", "").await;
    let own = JetStreamBus::open(&server.url(), None, &Role::Watcher, "test")
        .await
        .unwrap();
    ensure(&own, &EnsureArgs::default()).await.unwrap();
    let fixture = Real {
        bus: own.clone(),
        own,
    };
    let mut broken = Vec::new();
    for (name, case) in CASES {
        if let Err(error) = case(&fixture).await {
            broken.push(format!("{name}: {error}"));
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}
