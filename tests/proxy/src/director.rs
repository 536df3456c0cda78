//! Counts the steps of one part, writes them down, and says which fault is due.
//!
//! Decides when the part dies, and that then all its connections are cut at once. Never starts it
//! again: that is for whoever runs it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::fault::{Fault, Place};
use crate::mask::Masks;
use crate::plan::Plan;
use crate::trace::Entry;
use crate::views::Views;

/// A part that has its last answer lives on until it sends something, or for this long.
const LAST_BREATH: Duration = Duration::from_millis(20);

/// The connection is cut.
#[derive(Debug)]
pub(crate) struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut by plan")
    }
}

impl std::error::Error for Cut {}

/// A step as it was written down.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) text: String,
    pub(crate) occurrence: u32,
    pub(crate) fault: Option<Fault>,
}

/// What one part does, and what is done to it.
pub struct Director {
    state: Mutex<State>,
    /// Grows with each death.
    deaths: watch::Sender<u64>,
    paused: watch::Sender<bool>,
    pub(crate) views: Arc<Views>,
    spoken: Mutex<Spoken>,
}

/// Subjects of the bus, as they were said, since the proxy began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Published to.
    pub publish: BTreeSet<String>,
    /// Subscribed to.
    pub subscribe: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    masks: Masks,
    plan: Plan,
    counts: HashMap<String, u32>,
    trace: Vec<Entry>,
    made: Vec<Entry>,
    victim: Option<u32>,
    doomed: bool,
    begun: Option<Instant>,
}

impl Director {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            deaths: watch::channel(0).0,
            paused: watch::channel(false).0,
            views: Views::new(),
            spoken: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a run: a new trace, counts from 1, these names masked, this plan.
    pub fn begin(&self, masks: Masks, plan: Plan) {
        let mut state = self.state();
        *state = State {
            masks,
            plan,
            victim: state.victim,
            begun: Some(Instant::now()),
            ..State::default()
        };
        drop(state);
        self.views.clear();
    }

    /// The process that dies when a plan says so.
    pub fn attach(&self, pid: u32) {
        self.state().victim = Some(pid);
    }

    /// The steps since the run began.
    #[must_use]
    pub fn trace(&self) -> Vec<Entry> {
        self.state().trace.clone()
    }

    /// How many effects on masked names there were since the run began.
    #[must_use]
    pub fn own_effects(&self) -> usize {
        let state = self.state();
        let own = state.trace.iter().filter(|entry| entry.effect && entry.own);
        own.count()
    }

    /// The steps at which a fault was made since the run began.
    #[must_use]
    pub fn made(&self) -> Vec<Entry> {
        self.state().made.clone()
    }

    /// What was said to the bus.
    #[must_use]
    pub fn spoken(&self) -> Spoken {
        self.say().clone()
    }

    pub(crate) fn say(&self) -> MutexGuard<'_, Spoken> {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the part was led back into the past since the run began.
    #[must_use]
    pub fn was_in_the_past(&self) -> bool {
        self.views.was_past()
    }

    /// Whether the part is shown everything as it is.
    #[must_use]
    pub fn sees_what_is(&self) -> bool {
        self.views.are_true()
    }

    /// How often the part was killed so far.
    #[must_use]
    pub fn deaths(&self) -> u64 {
        *self.deaths.borrow()
    }

    /// Returns when the part was killed more than `before` times.
    pub async fn died(&self, before: u64) {
        let mut deaths = self.deaths.subscribe();
        // The sender lives as long as this.
        let _ = deaths.wait_for(|deaths| *deaths > before).await;
    }

    /// For a connection: its end is when this changes.
    pub(crate) fn life(&self) -> watch::Receiver<u64> {
        self.deaths.subscribe()
    }

    /// Writes a step down and says which fault is due; an error when the part dies by it.
    pub(crate) fn arrive(&self, text: &str, effect: bool) -> Result<Step, Cut> {
        self.arrive_with(text, effect, Vec::new())
    }

    /// The same for a watch event that changed these fields.
    pub(crate) fn arrive_with(
        &self,
        text: &str,
        effect: bool,
        changes: Vec<String>,
    ) -> Result<Step, Cut> {
        self.alive()?;
        let mut state = self.state();
        let (text, own) = state.masks.mask(text);
        let count = state.counts.entry(text.clone()).or_default();
        *count += 1;
        let occurrence = *count;
        let number = u64::try_from(state.trace.len()).unwrap_or(u64::MAX) + 1;
        let at = state.begun.map_or(0, |begun| begun.elapsed().as_millis());
        let entry = Entry {
            number,
            step: text.clone(),
            occurrence,
            at: u64::try_from(at).unwrap_or(u64::MAX),
            effect,
            own,
            changes,
        };
        state.trace.push(entry.clone());
        let due = state.plan.first_that_fits(&text, occurrence, number);
        let fault = due.cloned();
        state.plan.spend(&text);
        if fault.is_some() {
            state.made.push(entry);
        }
        drop(state);
        if fault == Some(Fault::Kill(Place::Before)) {
            self.kill();
            return Err(Cut);
        }
        Ok(Step {
            text,
            occurrence,
            fault,
        })
    }

    /// An error if the part has to die before it sends anything more.
    pub(crate) fn alive(&self) -> Result<(), Cut> {
        if self.state().doomed {
            self.kill();
            return Err(Cut);
        }
        Ok(())
    }

    /// The part has its last answer: it dies at whatever it sends next.
    pub(crate) fn doom(self: &Arc<Self>) {
        self.state().doomed = true;
        let director = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(LAST_BREATH).await;
            let _ = director.alive();
        });
    }

    /// SIGSTOP; returns when the part is to be resumed.
    pub(crate) async fn pause(&self) {
        self.paused.send_replace(true);
        self.signal(Signal::STOP);
        let mut paused = self.paused.subscribe();
        // The sender lives as long as this.
        let _ = paused.wait_for(|paused| !*paused).await;
    }

    /// Whether the part holds still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// What was held is passed on; the part goes on when it has taken effect.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let victim = self.state().victim;
        if let Some(pid) = victim.and_then(pid) {
            // A part that is gone already needs no signal.
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and all connections are cut.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        {
            let mut state = self.state();
            state.doomed = false;
            state.victim = None;
        }
        self.deaths.send_modify(|deaths| *deaths += 1);
    }
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks() -> Masks {
        Masks::none().with("orders", "$app")
    }

    #[test]
    fn a_fault_is_due_at_its_occurrence_only() {
        let director = Director::new();
        director.begin(masks(), Plan::once("write $app", 2, Fault::Drop));
        let due = |text| director.arrive(text, true).unwrap().fault;
        assert_eq!(due("write orders"), None);
        assert_eq!(due("write other"), None);
        assert_eq!(due("write orders"), Some(Fault::Drop));
        assert_eq!(due("write orders"), None);
        assert_eq!(director.made().len(), 1);
        assert_eq!(director.made()[0].number, 3);
        assert_eq!(crate::trace::effects(&director.trace())["write $app"], 3);
    }

    #[tokio::test]
    async fn the_doomed_die_at_the_next_thing_they_send() {
        let director = Director::new();
        assert!(director.arrive("a", true).is_ok());
        director.doom();
        assert!(director.arrive("b", true).is_err());
        assert_eq!(director.deaths(), 1);
        assert!(director.arrive("c", true).is_ok(), "the next process lives");
        assert_eq!(director.trace().len(), 2, "b was never sent");
    }
}
