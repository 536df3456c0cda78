//! What lies between the parts and the servers: delays, faults, partitions, crash points, and the trace.
//!
//! Decides what becomes of each request and each answer, by chance or by plan; never what a request does.
//! Everything that happens is a line of the trace: the same seed gives the same bytes.

mod doing;
mod news;
mod rates;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Arguments, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use signalbox_common::part::Part;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

pub use self::doing::{Doing, Lost, Passage, Point, Side, Stage, Verdict};
pub use self::news::WatchFault;
pub use self::rates::Rates;
use crate::random::Random;

/// How long a part waits for a server that it can't reach.
const UNREACHABLE: Duration = Duration::from_secs(5);

struct State {
    random: Random,
    rates: Rates,
    cut: BTreeSet<(String, Side)>,
    /// Kinds whose watches are silent, and until when.
    silent: BTreeMap<String, Instant>,
    trace: Vec<String>,
    broken: Vec<String>,
    /// Effects so far; the points name them where somebody asks.
    effects: u64,
    points: Vec<Point>,
    plan: Option<(u64, Stage)>,
}

/// Everything between.
pub struct Net {
    epoch: Timestamp,
    began: Instant,
    died: mpsc::UnboundedSender<String>,
    /// Whether trace and crash points are kept. They change no decision.
    tells: bool,
    state: Mutex<State>,
}

impl Net {
    /// One whose chance follows from `seed`; it tells the names of parts that it killed, and if it `tells`,
    /// all that happens.
    #[must_use]
    pub fn new(
        seed: u64,
        epoch: Timestamp,
        died: mpsc::UnboundedSender<String>,
        tells: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            began: Instant::now(),
            died,
            tells,
            state: Mutex::new(State {
                random: Random::new(seed),
                rates: Rates::default(),
                cut: BTreeSet::new(),
                silent: BTreeMap::new(),
                trace: Vec::new(),
                broken: Vec::new(),
                effects: 0,
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
        self.note(format_args!("net cuts {part} off {side:?}"));
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
        self.note(format_args!("net joins all"));
    }

    /// Chance.
    pub fn chance<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.lock().random)
    }

    /// A line of the trace.
    pub fn note(&self, what: Arguments<'_>) {
        if self.tells {
            let millis = self.began.elapsed().as_millis();
            self.lock().trace.push(format!("{millis:>7} {what}"));
        }
    }

    /// Something that a part does to a server; with an `effect` it is a crash point.
    #[must_use]
    pub fn doing(&self, side: Side, effect: bool, what: Arguments<'_>) -> Doing {
        let what = self.told(what);
        Doing { side, what, effect }
    }

    /// What stands in the trace, if there is one.
    #[must_use]
    pub fn told(&self, what: Arguments<'_>) -> String {
        if self.tells {
            what.to_string()
        } else {
            String::new()
        }
    }

    /// Whether a statement fails by chance.
    #[must_use]
    pub fn sql_fault(&self) -> Option<u64> {
        let mut state = self.lock();
        let rate = state.rates.sql;
        (rate > 0 && state.random.in_thousand(rate)).then(|| state.random.below(4))
    }

    /// Something that must never happen has happened.
    pub fn broken(&self, what: String) {
        self.note(format_args!("BROKEN {what}"));
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
        !state.cut.is_empty() && state.cut.contains(&(part.name().to_owned(), side))
    }

    /// A request leaves a part.
    pub async fn enter(&self, part: &Part, doing: Doing) -> Verdict {
        stay_if_dead(part).await;
        let (delay, passage) = {
            let mut state = self.lock();
            let index = state.effects;
            let delay = state.delay();
            let mut passage = Passage {
                doing,
                index,
                crash: None,
                lost: false,
                stalled: false,
            };
            if passage.doing.effect {
                state.effects += 1;
                if self.tells {
                    let point = Point {
                        role: role(part.name()).to_owned(),
                        what: passage.doing.what.clone(),
                        at: self.began.elapsed(),
                    };
                    state.points.push(point);
                }
                passage.crash = state.crash(index);
            }
            let State { rates, random, .. } = &mut *state;
            rates.fate(&mut passage, random);
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
        let (refusal, reset) = {
            let mut state = self.lock();
            let State { rates, random, .. } = &mut *state;
            rates.refusal(&passage.doing, random)
        };
        if reset {
            self.note(format_args!(
                "{} {} -> reset",
                part.name(),
                passage.doing.what
            ));
            return Verdict::Reset;
        }
        match refusal {
            Some(refusal) => {
                self.note(format_args!(
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
            self.note(format_args!(
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
        self.note(format_args!(
            "{} dies {stage:?} #{} {}",
            part.name(),
            passage.index,
            passage.doing.what
        ));
        part.kill();
        // Nobody listens at the end of a run.
        let _ = self.died.send(part.name().to_owned());
    }
}

impl State {
    fn delay(&mut self) -> Duration {
        self.rates.delay(&mut self.random)
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
