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
use crate::api::json::text;
use crate::api::store::Place;
use crate::bus::SimulatedBus;
use crate::controllers;
use crate::database::SimulatedDatabase;
use crate::fleet::Fleet;
use crate::net::{Net, Point, Rates, Stage};
use crate::options::{Act, Options};
use crate::oracle::Oracle;
use crate::oracle::records::Records;
use crate::trigger;
use crate::user::{self, Wish};

/// Everything stays as it must be for so long before it counts: longer than a restart and a takeover.
const STEADY: Duration = Duration::from_secs(10);
/// How often a person looks after what waits for one.
const HELP: Duration = Duration::from_secs(30);
/// What the wall clocks show at the start.
const EPOCH_SECONDS: i64 = 1_800_000_000;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Invariants that were broken, and what was missing in the end.
    pub broken: Vec<String>,
    /// Everything that happened, if it was asked for.
    pub trace: String,
    /// The crash points, if they were asked for.
    pub points: Vec<Point>,
    /// Creations and deletions of each child.
    pub counts: BTreeMap<String, (u64, u64)>,
    /// What the API server holds in the end.
    pub state: BTreeMap<Place, Value>,
    /// Virtual time from the end of the faults until everything was right.
    pub settled_in: Duration,
}

/// Runs what a seed means, without a trace.
#[must_use]
pub fn run(options: &Options, plan: Option<(u64, Stage)>) -> Report {
    start(options, plan, false)
}

/// The very same run, with its trace and its crash points.
#[must_use]
pub fn trace(options: &Options) -> Report {
    start(options, None, true)
}

fn start(options: &Options, plan: Option<(u64, Stage)>, tells: bool) -> Report {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    match runtime {
        Ok(runtime) => {
            // Within the runtime: outside of it the clock is the real one.
            let report =
                runtime.block_on(async { World::new(options, plan, tells).run(options).await });
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
    fn new(options: &Options, plan: Option<(u64, Stage)>, tells: bool) -> Self {
        let (died, ears) = mpsc::unbounded_channel();
        let epoch = Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
        let net = Net::new(options.seed, epoch, died.clone(), tells);
        net.set_rates(options.rates.clone());
        if let Some((index, stage)) = plan {
            net.plan(index, stage);
        }
        let server = Server::new(options.seed);
        let records = Records::new(user::secrets());
        let oracle = Oracle::watch(&server, &net, &records);
        let bus = SimulatedBus::new(net.clone(), records);
        let database = SimulatedDatabase::new(net.clone(), oracle.clone());
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
        let mut helped = calm;
        let missing = loop {
            let now = self.net.began().elapsed();
            let mut missing = self.missing();
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
            if now >= helped + HELP {
                helped = now;
                self.help(now);
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
        broken.extend(self.oracle.false_answers(&self.bus.memory.answers()));
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

    fn missing(&self) -> Vec<String> {
        let mut missing = self.oracle.missing(&self.server, &self.database);
        let backlog = self.bus.backlog();
        if backlog > 0 {
            missing.push(format!("{backlog} messages under way"));
        }
        missing
    }

    /// A person looks after the migrations that wait for one.
    fn help(&mut self, now: Duration) {
        let waiting: Vec<String> = {
            let store = self.server.store();
            let of_kind = store.everything().filter(|(place, object)| {
                place.resource.kind == "DatabaseMigration"
                    && matches!(text(object, "/status/phase"), "Ambiguous" | "Failed")
            });
            let apps = of_kind.map(|(_, object)| text(object, "/spec/app").to_owned());
            apps.collect()
        };
        for app in waiting {
            let retry = format!("retry {}", now.as_secs());
            self.later(now, Act::User(app, Wish::Command(retry)));
        }
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
            self.net.note(format_args!("act {act:?}"));
        }
        let after = |long: u64| now + Duration::from_millis(long);
        match act {
            Act::User(app, wish) => {
                if let Err(refusal) = user::act(&self.server, &app, &wish, self.net.now()) {
                    self.net
                        .note(format_args!("user refused: {}", refusal.message));
                }
            }
            Act::Trigger(app, ask) => {
                use signalbox_common::bus::Bus as _;
                let epoch = Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
                // A refusal is its sender's problem.
                let _ = self
                    .bus
                    .memory
                    .publish(trigger::message(&app, &ask, epoch))
                    .await;
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
        self.net.note(format_args!("calm"));
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
