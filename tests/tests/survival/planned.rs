//! Which apps are planned for, as LEDGER tells it: what is planned and writes nothing is seen nowhere else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use signalbox_common::bus::rights::Role;
use signalbox_common::subject::Stream;
use signalbox_common::wire::planned::PLANNED;
use signalbox_tests::bus::BusView;
use signalbox_tests::{Objects, World};

/// Names of the apps of a namespace that LEDGER tells of as planned, followed from a mark on.
pub(crate) struct Planned {
    namespace: String,
    ledger: async_nats::jetstream::stream::Stream<()>,
    next: Cell<u64>,
    names: RefCell<BTreeSet<String>>,
}

impl Planned {
    pub(crate) async fn from_now(world: &World, objects: &Objects) -> Self {
        let client = world.nats(&Role::Reader).await;
        let streams = async_nats::jetstream::new(client);
        let last = world.bus().await.last_sequence(Stream::Ledger).await;
        Self {
            namespace: objects.namespace.clone(),
            ledger: streams.get_stream_no_info("LEDGER").await.unwrap(),
            next: Cell::new(last + 1),
            names: RefCell::default(),
        }
    }

    /// How many apps were planned so far: an Event, or the one line of a settled plan.
    pub(crate) async fn count(&self, bus: &BusView) -> usize {
        let last = bus.last_sequence(Stream::Ledger).await;
        while self.next.get() <= last {
            let entry = self.ledger.get_raw_message(self.next.get()).await.unwrap();
            let of = |entry| format!("sb.ledger.suite.{entry}.PortfolioApp.{}.", self.namespace);
            let name = [PLANNED, "event", "settled"]
                .into_iter()
                .find_map(|word| entry.subject.strip_prefix(&of(word)));
            if let Some(name) = name {
                self.names.borrow_mut().insert(name.to_owned());
            }
            self.next.set(self.next.get() + 1);
        }
        self.names.borrow().len()
    }
}
