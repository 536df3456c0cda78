//! One run: a seed's world, its timeline, then calm, and whether everything comes right.
//!
//! One thread, virtual time. The same options give the same bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use signalbox_common::subject::Stream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::api::Server;
use crate::api::store::Place;
use crate::bus::SimulatedBus;
use crate::controllers;
use crate::database::SimulatedDatabase;
use crate::fleet::Fleet;
use crate::net::{Net, Point, Rates, Stage};
use crate::options::{Act, Options};
use crate::oracle::Oracle;
use crate::user::{self, PASSWORD};

/// Everything stays as it must be for so long before it counts: longer than a restart and a takeover.
const STEADY: Duration = Duration::from_secs(10);
/// What the wall clocks show at the start.
const EPOCH_SECONDS: i64 = 1_800_000_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Invariants that were broken, and what was missing in the end.
    pub broken: Vec<String>,
    /// Everything that happened.
    pub trace: String,
    /// The crash points.
    pub points: Vec<Point>,
    /// Creations and deletions of each child.
    pub counts: BTreeMap<String, (u64, u64)>,
    /// What the API server holds in the end.
    pub state: BTreeMap<Place, Value>,
    /// Virtual time from the end of the faults until everything was right.
    pub settled_in: Duration,
}

/// Runs what a seed means.
#[must_use]
pub fn run(options: &Options, plan: Option<(u64, Stage)>) -> Report {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match runtime {
        Ok(runtime) => {
            // Within the runtime: outside of it the clock is the real one.
            let report = runtime.block_on(async { World::new(options, plan).run(options).await });
            runtime.shutdown_background();
            report
        }
        Err(error) => Report {
            broken: vec![format!("no runtime: {error}")],
            trace: String::new(),
            points: Vec::new(),
            counts: BTreeMap::new(),
            state: BTreeMap::new(),
            settled_in: Duration::ZERO,
        },
    }
}

struct World {
    net: Arc<Net>,
    server: Arc<Server>,
    bus: Arc<SimulatedBus>,
    oracle: Arc<Oracle>,
    database: Arc<SimulatedDatabase>,
    fleet: Fleet,
    died: mpsc::UnboundedReceiver<String>,
    /// What happens, by time and order.
    agenda: BTreeMap<(Duration, u64), Act>,
    entries: u64,
}

impl World {
    fn new(options: &Options, plan: Option<(u64, Stage)>) -> Self {
        let (died, ears) = mpsc::unbounded_channel();
        let epoch = Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
        let net = Net::new(options.seed, epoch, died.clone());
        net.set_rates(options.rates.clone());
        if let Some((index, stage)) = plan {
            net.plan(index, stage);
        }
        let server = Server::new(options.seed);
        let oracle = Oracle::watch(&server, &net);
        let bus = SimulatedBus::new(net.clone(), PASSWORD);
        let database = SimulatedDatabase::new(net.clone(), server.clone(), bus.clone());
        let fleet = Fleet::new(
            server.clone(),
            bus.clone(),
            net.clone(),
            database.clone(),
            died,
            options.seed,
        );
        Self {
            net,
            server,
            bus,
            oracle,
            database,
            fleet,
            died: ears,
            agenda: BTreeMap::new(),
            entries: 0,
        }
    }

    async fn run(mut self, options: &Options) -> Report {
        for slot in options.slots() {
            self.fleet.start(&slot, true);
        }
        let rest = tokio::spawn(controllers::run(self.server.clone(), self.net.clone()));
        for (at, act) in &options.timeline {
            self.later(Duration::from_millis(*at), act.clone());
        }
        self.until(Duration::from_millis(options.faults_end)).await;
        self.calm();
        let calm = self.net.began().elapsed();
        let end = calm + Duration::from_millis(options.patience);
        let mut since: Option<(Duration, u64)> = None;
        let mut settled_in = Duration::ZERO;
        let missing = loop {
            let now = self.net.began().elapsed();
            let mut missing = self.missing().await;
            let writes = self.oracle.writes();
            since = match since {
                Some((since, before)) if missing.is_empty() && before == writes => {
                    Some((since, before))
                }
                _ if missing.is_empty() => Some((now, writes)),
                _ => None,
            };
            if let Some((since, _)) = since
                && now >= since + STEADY
            {
                settled_in = since.saturating_sub(calm);
                break missing;
            }
            if now >= end {
                if missing.is_empty() {
                    missing.push("writes without end".to_owned());
                }
                break missing;
            }
            self.until(now + Duration::from_millis(500)).await;
        };
        rest.abort();
        let mut broken = self.net.all_broken();
        broken.extend(
            missing
                .into_iter()
                .map(|what| format!("in the end: {what}")),
        );
        let store = self.server.store();
        let state = store
            .everything()
            .map(|(place, object)| (place.clone(), Value::clone(object)));
        Report {
            broken,
            trace: self.net.trace(),
            points: self.net.points(),
            counts: self.oracle.counts(),
            state: state.collect(),
            settled_in,
        }
    }

    async fn missing(&self) -> Vec<String> {
        let mut missing = self.oracle.missing(&self.server);
        for (place, files) in user::files(&self.server) {
            let applied = self.database.applied(&place.namespace, &place.name);
            if applied != files {
                missing.push(format!("{place} has {applied:?} of {files:?}"));
            }
        }
        let backlog = self.bus.backlog().await;
        if backlog > 0 {
            missing.push(format!("{backlog} messages under way"));
        }
        missing
    }

    fn later(&mut self, at: Duration, act: Act) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), act);
    }

    /// Lives until then.
    async fn until(&mut self, end: Duration) {
        loop {
            let next = self
                .agenda
                .keys()
                .next()
                .map_or(end, |(at, _)| (*at).min(end));
            let began: Instant = self.net.began();
            tokio::select! {
                biased;
                Some(name) = self.died.recv() => self.replace(&name),
                () = sleep_until(began + next) => {
                    let now = self.net.began().elapsed();
                    while let Some(entry) = self.agenda.first_entry()
                        && entry.key().0 <= now
                    {
                        let act = entry.remove();
                        self.act(act, now).await;
                    }
                    if now >= end {
                        return;
                    }
                }
            }
        }
    }

    /// A part has ended: another one takes its place.
    fn replace(&mut self, name: &str) {
        let Some(slot) = self.fleet.slot_of(name) else {
            return;
        };
        let after = self.net.chance(|random| random.between(300, 3000));
        let now = self.net.began().elapsed();
        self.later(now + Duration::from_millis(after), Act::Start(slot));
    }

    async fn act(&mut self, act: Act, now: Duration) {
        if !matches!(act, Act::Start(_)) {
            self.net.note(&format!("act {act:?}"));
        }
        let after = |long: u64| now + Duration::from_millis(long);
        match act {
            Act::User(app, wish) => {
                if let Err(refusal) = user::act(&self.server, &app, &wish, self.net.now()) {
                    self.net.note(&format!("user refused: {}", refusal.message));
                }
            }
            Act::Kill(slot) => {
                if let Some(part) = self.fleet.part(&slot).filter(|part| !part.is_dead()) {
                    part.kill();
                    let name = part.name().to_owned();
                    self.replace(&name);
                }
            }
            Act::Freeze(slot, long) => {
                if let Some(part) = self.fleet.part(&slot) {
                    part.stand_still();
                    self.later(after(long), Act::Thaw(slot));
                }
            }
            Act::Thaw(slot) => {
                if let Some(part) = self.fleet.part(&slot) {
                    part.go_on();
                }
            }
            Act::Cut(slot, side, long) => {
                if let Some(part) = self.fleet.part(&slot) {
                    self.net.cut(part.name(), side);
                    self.later(after(long), Act::Join);
                }
            }
            Act::Silence(kind, long) => self.net.silence(kind, Duration::from_millis(long)),
            Act::Join => self.net.join(),
            Act::Skew(slot, by) => {
                if let Some(part) = self.fleet.part(&slot) {
                    part.skew(SignedDuration::from_millis(by));
                }
            }
            Act::BusAway(long) => {
                self.bus.memory.set_down(true);
                self.later(after(long), Act::BusBack);
            }
            Act::BusBack => self.bus.memory.set_down(false),
            Act::Wipe(stream) => self.bus.memory.wipe(stream),
            Act::Rewind(stream, by) => self.rewind(stream, by).await,
            Act::Lose(stream, app) => {
                let subjects = self
                    .bus
                    .memory
                    .messages(stream)
                    .into_iter()
                    .map(|message| message.subject);
                for subject in subjects.filter(|subject| subject.ends_with(&app)) {
                    self.bus.memory.lose(stream, &subject);
                }
            }
            Act::Compact => self.server.store().compact(),
            Act::Start(slot) => {
                let anew = self.net.chance(|random| random.in_thousand(500));
                if self
                    .fleet
                    .part(&slot)
                    .is_none_or(signalbox_common::part::Part::is_dead)
                {
                    self.fleet.start(&slot, anew);
                }
            }
        }
    }

    async fn rewind(&self, stream: Stream, by: u64) {
        use signalbox_common::bus::Bus as _;
        if let Ok(state) = self.bus.memory.state(stream).await {
            self.bus
                .memory
                .rewind(stream, state.last_sequence.saturating_sub(by));
        }
    }

    /// The faults end.
    fn calm(&mut self) {
        self.net.note("calm");
        self.net.set_rates(Rates {
            delay: 5,
            ..Rates::default()
        });
        self.net.join();
        self.bus.memory.set_down(false);
        // What ends faults is done here; starts that are due still happen.
        self.agenda.retain(|_, act| matches!(act, Act::Start(_)));
        for slot in self.fleet.slots() {
            if let Some(part) = self.fleet.part(&slot) {
                part.skew(SignedDuration::ZERO);
                part.go_on();
            }
        }
    }
}
