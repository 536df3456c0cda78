//! What lies between the parts and the servers: delays, faults, partitions, crash points, and the trace.
//!
//! Decides what becomes of each request and each answer, by chance or by plan; never what a request does.
//! Everything that happens is a line of the trace: the same seed gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Uri;
use jiff::{SignedDuration, Timestamp};
use signalbox_common::part::Part;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::api::Refusal;
use crate::random::Random;

/// How long a part waits for a server that it can't reach.
const UNREACHABLE: Duration = Duration::from_secs(5);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The API server.
    Api,
    /// The bus.
    Bus,
    /// The database.
    Database,
}

/// How often what goes wrong, in a thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// The API server refuses: 409, 429, 500, 503.
    pub refused: u64,
    /// A request does not arrive.
    pub reset: u64,
    /// The effect happened, the answer is lost.
    pub answer_lost: u64,
    /// The effect happened, the answer comes too late.
    pub stalled: u64,
    /// A watch is cut, held or told that its version is gone, each time it has news.
    pub watch: u64,
    /// A message is refused, or stored without an answer.
    pub bus: u64,
    /// What was fetched is lost on its way.
    pub fetch: u64,
    /// What was fetched comes in another order.
    pub reorder: u64,
    /// A part is killed at a request: before it, after its effect, after its answer.
    pub crash: u64,
    /// Longest delay each way, in milliseconds.
    pub delay: u64,
}

/// What becomes of a watch.
#[derive(Clone, Copy, Debug)]
pub enum WatchFault {
    /// It ends.
    Cut,
    /// Its version is gone: 410.
    Gone,
    /// It is silent until then.
    Hold(Instant),
}

/// Where in a request a part is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before it arrives.
    Before,
    /// After its effect, before its answer.
    Effect,
    /// After its answer.
    Answer,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Effect, Self::Answer];
}

/// What a part does.
#[derive(Clone, Debug)]
pub struct Doing {
    side: Side,
    what: String,
    /// Whether it has an effect: a crash point.
    effect: bool,
}

impl Doing {
    /// A request to the API server.
    #[must_use]
    pub fn of_api(verb: &str, uri: &Uri, effect: bool) -> Self {
        Self {
            side: Side::Api,
            what: format!("{verb} {}", uri.path()),
            effect,
        }
    }

    /// Something in the database.
    #[must_use]
    pub const fn of_database(what: String, effect: bool) -> Self {
        Self {
            side: Side::Database,
            what,
            effect,
        }
    }

    /// Something on the bus.
    #[must_use]
    pub const fn of_bus(what: String, effect: bool) -> Self {
        Self {
            side: Side::Bus,
            what,
            effect,
        }
    }
}

/// What becomes of a request.
pub enum Verdict {
    /// It arrives.
    Pass(Passage),
    /// The server refuses.
    Refuse(Refusal),
    /// It does not arrive.
    Reset,
}

/// A request that has arrived.
pub struct Passage {
    doing: Doing,
    index: u64,
    crash: Option<Stage>,
    lost: bool,
    stalled: bool,
}

/// The answer is lost.
#[derive(Debug)]
pub struct Lost;

/// A crash point: something with an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The part's role.
    pub role: String,
    /// What it does.
    pub what: String,
    /// When.
    pub at: Duration,
}

struct State {
    random: Random,
    rates: Rates,
    cut: BTreeSet<(String, Side)>,
    /// Kinds whose watches are silent, and until when.
    silent: BTreeMap<String, Instant>,
    trace: Vec<String>,
    broken: Vec<String>,
    points: Vec<Point>,
    plan: Option<(u64, Stage)>,
}

/// Everything between.
pub struct Net {
    epoch: Timestamp,
    began: Instant,
    died: mpsc::UnboundedSender<String>,
    state: Mutex<State>,
}

impl Net {
    /// One whose chance follows from `seed`; it tells the names of parts that it killed.
    #[must_use]
    pub fn new(seed: u64, epoch: Timestamp, died: mpsc::UnboundedSender<String>) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            began: Instant::now(),
            died,
            state: Mutex::new(State {
                random: Random::new(seed),
                rates: Rates::default(),
                cut: BTreeSet::new(),
                silent: BTreeMap::new(),
                trace: Vec::new(),
                broken: Vec::new(),
                points: Vec::new(),
                plan: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it began.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// The servers' wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        self.epoch.saturating_add(passed).unwrap_or(self.epoch)
    }

    /// What goes wrong from now on.
    pub fn set_rates(&self, rates: Rates) {
        self.lock().rates = rates;
    }

    /// Kills whoever does the thing with this number, at this stage.
    pub fn plan(&self, index: u64, stage: Stage) {
        self.lock().plan = Some((index, stage));
    }

    /// Cuts a part off from a server.
    pub fn cut(&self, part: &str, side: Side) {
        self.lock().cut.insert((part.to_owned(), side));
        self.note(&format!("net cuts {part} off {side:?}"));
    }

    /// Lets the watches of a kind tell nothing for a while.
    pub fn silence(&self, kind: &str, long: Duration) {
        let until = Instant::now() + long;
        self.lock().silent.insert(kind.to_owned(), until);
    }

    /// Ends all partitions.
    pub fn join(&self) {
        {
            let mut state = self.lock();
            state.cut.clear();
            state.silent.clear();
        }
        self.note("net joins all");
    }

    /// Chance.
    pub fn chance<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.lock().random)
    }

    /// A line of the trace.
    pub fn note(&self, what: &str) {
        let millis = self.began.elapsed().as_millis();
        self.lock().trace.push(format!("{millis:>7} {what}"));
    }

    /// Something that must never happen has happened.
    pub fn broken(&self, what: String) {
        self.note(&format!("BROKEN {what}"));
        self.lock().broken.push(what);
    }

    /// What was broken.
    #[must_use]
    pub fn all_broken(&self) -> Vec<String> {
        self.lock().broken.clone()
    }

    /// The trace so far.
    #[must_use]
    pub fn trace(&self) -> String {
        let state = self.lock();
        let mut text = String::new();
        for line in &state.trace {
            // A String takes everything.
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The crash points so far, in order: a number in [`Net::plan`] is a place in it.
    #[must_use]
    pub fn points(&self) -> Vec<Point> {
        self.lock().points.clone()
    }

    /// Whether `part` is cut off.
    #[must_use]
    pub fn is_cut(&self, part: &Part, side: Side) -> bool {
        let state = self.lock();
        state.cut.contains(&(part.name().to_owned(), side))
    }

    /// A request leaves a part.
    pub async fn enter(&self, part: &Part, doing: Doing) -> Verdict {
        stay_if_dead(part).await;
        let (delay, passage) = {
            let mut state = self.lock();
            let index = u64::try_from(state.points.len()).unwrap_or(u64::MAX);
            let delay = state.delay();
            let mut passage = Passage {
                doing,
                index,
                crash: None,
                lost: false,
                stalled: false,
            };
            if passage.doing.effect {
                let point = Point {
                    role: role(part.name()).to_owned(),
                    what: passage.doing.what.clone(),
                    at: self.began.elapsed(),
                };
                state.points.push(point);
                passage.crash = state.crash(index);
            }
            state.fate(&mut passage);
            (delay, passage)
        };
        if passage.crash == Some(Stage::Before) {
            self.kill(part, &passage);
            stay_if_dead(part).await;
        }
        sleep(delay).await;
        stay_if_dead(part).await;
        if self.is_cut(part, passage.doing.side) {
            sleep(UNREACHABLE).await;
            stay_if_dead(part).await;
            return Verdict::Reset;
        }
        let (refusal, reset) = self.lock().refusal(&passage.doing);
        if reset {
            self.note(&format!("{} {} -> reset", part.name(), passage.doing.what));
            return Verdict::Reset;
        }
        match refusal {
            Some(refusal) => {
                self.note(&format!(
                    "{} {} -> {} (fault)",
                    part.name(),
                    passage.doing.what,
                    refusal.code
                ));
                Verdict::Refuse(refusal)
            }
            None => Verdict::Pass(passage),
        }
    }

    /// Its answer comes back.
    pub async fn leave(&self, part: &Part, passage: Passage, result: &str) -> Result<(), Lost> {
        if passage.doing.effect || passage.doing.side == Side::Api {
            let lost = if passage.lost || passage.stalled {
                " (lost)"
            } else {
                ""
            };
            self.note(&format!(
                "{} {} -> {result}{lost}",
                part.name(),
                passage.doing.what
            ));
        }
        if passage.crash == Some(Stage::Effect) {
            self.kill(part, &passage);
            stay_if_dead(part).await;
        }
        let delay = self.lock().delay();
        sleep(delay).await;
        stay_if_dead(part).await;
        if passage.stalled {
            sleep(Duration::from_secs(10)).await;
            stay_if_dead(part).await;
        }
        if passage.lost || passage.stalled || self.is_cut(part, passage.doing.side) {
            return Err(Lost);
        }
        if passage.crash == Some(Stage::Answer) {
            self.kill(part, &passage);
        }
        Ok(())
    }

    fn kill(&self, part: &Part, passage: &Passage) {
        if part.is_dead() {
            return;
        }
        let stage = passage.crash.unwrap_or(Stage::Before);
        self.note(&format!(
            "{} dies {stage:?} #{} {}",
            part.name(),
            passage.index,
            passage.doing.what
        ));
        part.kill();
        // Nobody listens at the end of a run.
        let _ = self.died.send(part.name().to_owned());
    }

    /// What becomes of a watch now.
    #[must_use]
    pub fn watch_fault(&self, part: &Part, kind: &str) -> Option<WatchFault> {
        if self.is_cut(part, Side::Api) {
            return Some(WatchFault::Hold(Instant::now() + UNREACHABLE));
        }
        let mut state = self.lock();
        let silent = state.silent.get(kind).copied();
        if let Some(until) = silent.filter(|until| *until > Instant::now()) {
            return Some(WatchFault::Hold(until));
        }
        let rate = state.rates.watch;
        if rate == 0 || !state.random.in_thousand(rate) {
            return None;
        }
        Some(match state.random.below(4) {
            0 => WatchFault::Cut,
            1 => WatchFault::Gone,
            _ => WatchFault::Hold(
                Instant::now() + Duration::from_millis(state.random.between(100, 4000)),
            ),
        })
    }

    /// How far a watch is behind.
    #[must_use]
    pub fn watch_delay(&self) -> Duration {
        self.lock().delay()
    }

    /// Whether what was fetched is lost, and whether its order changes.
    #[must_use]
    pub fn fetch_fault(&self) -> (bool, bool) {
        let mut state = self.lock();
        let (lost, reorder) = (state.rates.fetch, state.rates.reorder);
        (
            lost > 0 && state.random.in_thousand(lost),
            reorder > 0 && state.random.in_thousand(reorder),
        )
    }
}

impl State {
    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.random.between(1, self.rates.delay.max(1)))
    }

    fn crash(&mut self, index: u64) -> Option<Stage> {
        if let Some((planned, stage)) = self.plan {
            return (planned == index).then_some(stage);
        }
        let rate = self.rates.crash;
        if rate == 0 || !self.random.in_thousand(rate) {
            return None;
        }
        self.random.one_of(&Stage::ALL).copied()
    }

    fn fate(&mut self, passage: &mut Passage) {
        let (lost, stalled) = match passage.doing.side {
            Side::Api => (self.rates.answer_lost, self.rates.stalled),
            Side::Bus | Side::Database => (self.rates.bus / 2, 0),
        };
        passage.lost = lost > 0 && self.random.in_thousand(lost);
        passage.stalled = stalled > 0 && self.random.in_thousand(stalled);
    }

    fn refusal(&mut self, doing: &Doing) -> (Option<Refusal>, bool) {
        let (refused, reset) = match doing.side {
            Side::Api => (self.rates.refused, self.rates.reset),
            Side::Bus | Side::Database => (0, self.rates.bus / 2),
        };
        if reset > 0 && self.random.in_thousand(reset) {
            return (None, true);
        }
        if refused == 0 || !self.random.in_thousand(refused) {
            return (None, false);
        }
        // A conflict out of nothing: another write was there first, and was undone.
        let codes: &[u16] = if doing.effect {
            &[409, 429, 500, 503]
        } else {
            &[429, 500, 503]
        };
        let code = self.random.one_of(codes).copied().unwrap_or(500);
        let mut refusal = Refusal::new(code, "a fault of the simulation");
        if code == 429 {
            refusal.retry_after = Some(self.random.between(1, 3));
        }
        (Some(refusal), false)
    }
}

/// `executor` of `executor-2.1`.
#[must_use]
pub fn role(part: &str) -> &str {
    part.split('-').next().unwrap_or(part)
}

/// A dead part never sees an answer.
async fn stay_if_dead(part: &Part) {
    if part.is_dead() {
        std::future::pending::<()>().await;
    }
}
