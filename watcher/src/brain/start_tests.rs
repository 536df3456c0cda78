//! A start on virtual time: what a leader waits for, and what not.

use serde_json::json;
use signalbox_common::bus::Bus as _;
use signalbox_common::bus::memory::MemoryBus;
use signalbox_common::health::Health;
use signalbox_common::kinds::Kind;
use signalbox_common::metrics::Metrics;
use signalbox_common::wire::trim::trim_as;
use tokio::sync::mpsc::Sender;

use super::*;
use crate::watch::{Body, Item};

/// What tells a loop something.
struct Mouths {
    watches: Sender<(Source, Told)>,
    leads: watch::Sender<Leadership>,
    end: CancellationToken,
    bus: Arc<MemoryBus>,
}

/// A loop that nobody has told anything, and does not lead.
fn begin() -> Mouths {
    let bus = MemoryBus::new();
    let (health, metrics) = (Health::new(), Metrics::new("watcher"));
    let means = Means {
        bus: bus.clone(),
        cluster: "c".to_owned(),
        meters: Meters::new(&metrics).unwrap(),
        beat: health.check_with_beat("loop", Duration::from_secs(10)),
        watches: health.check("watches"),
        bus_check: health.check("bus"),
        drains: watch::channel(false).0,
        active: watch::channel(false).0,
        forced: false,
        again: HashMap::new(),
    };
    let (watches, ears_watches) = mpsc::channel(64);
    let (leads, leading) = watch::channel(Leadership::Standby);
    let ears = Ears {
        watches: ears_watches,
        outcomes: mpsc::channel(1).1,
        triggers: mpsc::channel(1).1,
        inventories: mpsc::channel(1).1,
        leading,
    };
    let end = CancellationToken::new();
    tokio::spawn(Brain::new(means).run(ears, end.clone()));
    Mouths {
        watches,
        leads,
        end,
        bus,
    }
}

impl Mouths {
    /// Every list, the one app in its own.
    async fn fill(&self) {
        for source in Source::all() {
            let tell = async |told| self.watches.send((source, told)).await.unwrap();
            tell(Told::Init).await;
            if source == Source::Custom(Kind::PortfolioApp) {
                tell(Told::Listed(app())).await;
            }
            tell(Told::InitDone).await;
        }
    }

    /// How long the first Event takes.
    async fn first_event(self) -> Duration {
        let began = Instant::now();
        let wait = Duration::from_secs(10);
        let events = self.bus.fetch(Stream::Events, 1, wait).await.unwrap();
        assert_eq!(events.len(), 1);
        self.end.cancel();
        began.elapsed()
    }
}

fn app() -> Item {
    let object = json!({
        "metadata": { "name": "web", "namespace": "n", "uid": "u", "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z" },
        "spec": { "image": "a" },
    });
    Item {
        namespace: "n".to_owned(),
        name: "web".to_owned(),
        body: Body::Object(Box::new(trim_as("PortfolioApp", object).unwrap())),
    }
}

/// Somewhere between two ticks.
async fn later() {
    tokio::time::sleep(TICK + TICK / 10).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_fills_its_caches_waits_for_no_tick() {
    let mouths = begin();
    mouths.leads.send_replace(Leadership::Forced);
    later().await;
    mouths.fill().await;
    assert!(mouths.first_event().await < TICK / 10);
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_comes_to_lead_waits_for_no_tick() {
    let mouths = begin();
    mouths.fill().await;
    later().await;
    mouths.leads.send_replace(Leadership::Forced);
    assert!(mouths.first_event().await < TICK / 10);
}
