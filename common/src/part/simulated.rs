//! Many parts in one process and one thread: each with its tasks, its clock and its randomness.
//!
//! Decides when a task of a part may run: not after the part's end, not while it stands still. A task
//! that belongs to no part runs as ever. Never in a release.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use jiff::{SignedDuration, Timestamp};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use uuid::{Builder, Uuid};

thread_local! {
    /// The part whose task is being polled.
    static HERE: RefCell<Option<Part>> = const { RefCell::new(None) };
}

/// Ended tasks are forgotten when there are more than this.
const MANY_TASKS: usize = 256;

/// A simulated process.
#[derive(Clone)]
pub struct Part(Arc<Inner>);

struct Inner {
    name: String,
    /// What the wall clock shows at `began`.
    epoch: Timestamp,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    dead: bool,
    still: bool,
    /// Tasks that wanted to run while it stood still.
    waiting: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    skew: SignedDuration,
    random: u64,
}

impl Part {
    /// A process whose wall clock shows `epoch` at `began`, and whose ids come from `seed`.
    #[must_use]
    pub fn new(name: &str, epoch: Timestamp, began: Instant, seed: u64) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            epoch,
            began,
            state: Mutex::new(State {
                dead: false,
                still: false,
                waiting: Vec::new(),
                tasks: Vec::new(),
                skew: SignedDuration::ZERO,
                random: seed,
            }),
        }))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Starts a task of this part.
    pub fn start<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let handle = tokio::spawn(Owned {
            part: Some(self.clone()),
            work: Box::pin(task),
        });
        let mut state = self.lock();
        if state.dead {
            handle.abort();
        } else {
            if state.tasks.len() > MANY_TASKS {
                state.tasks.retain(|task| !task.is_finished());
            }
            state.tasks.push(handle.abort_handle());
        }
        drop(state);
        handle
    }

    /// Ends it where it is: no task of it runs any further.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.dead = true;
        let (tasks, waiting) = (
            std::mem::take(&mut state.tasks),
            std::mem::take(&mut state.waiting),
        );
        drop(state);
        tasks.iter().for_each(AbortHandle::abort);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether it was ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Stops all its tasks, until [`Part::go_on`]; time does not stop.
    pub fn stand_still(&self) {
        self.lock().still = true;
    }

    /// Lets its tasks run again.
    pub fn go_on(&self) {
        let mut state = self.lock();
        state.still = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Sets its wall clock before or behind the others'.
    pub fn skew(&self, by: SignedDuration) {
        self.lock().skew = by;
    }

    /// Its wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let skew = self.lock().skew;
        let passed = SignedDuration::try_from(self.0.began.elapsed()).unwrap_or_default();
        self.0
            .epoch
            .saturating_add(passed.saturating_add(skew))
            .unwrap_or(self.0.epoch)
    }

    /// A random number of its own (splitmix64).
    #[must_use]
    pub fn random(&self) -> u64 {
        let mut state = self.lock();
        state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state.random;
        drop(state);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a task may run now; else its waker is kept where it is of use.
    fn runs(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.still && !state.dead {
            state.waiting.push(waker.clone());
        }
        !state.still && !state.dead
    }
}

/// Work that belongs to a part, or to none.
pub struct Owned<F: Future> {
    part: Option<Part>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Owned<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let Some(part) = &this.part else {
            return this.work.as_mut().poll(cx);
        };
        if !part.runs(cx.waker()) {
            return Poll::Pending;
        }
        let before = HERE.replace(Some(part.clone()));
        let polled = this.work.as_mut().poll(cx);
        HERE.set(before);
        polled
    }
}

fn here() -> Option<Part> {
    HERE.with_borrow(Clone::clone)
}

/// Whether the caller runs in a simulation.
#[must_use]
pub fn is_simulated() -> bool {
    HERE.with_borrow(Option::is_some)
}

/// The part's wall clock; none outside of a simulation.
pub(crate) fn now() -> Option<Timestamp> {
    here().map(|part| part.now())
}

/// Starts a task of the part that runs.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    match here() {
        Some(part) => part.start(task),
        None => tokio::spawn(task),
    }
}

/// Work of the part that runs, which somebody else starts as a task, such as a set of tasks.
pub fn own<F: Future>(work: F) -> Owned<F> {
    Owned {
        part: here(),
        work: Box::pin(work),
    }
}

/// An id that nobody had before; later ones are greater.
#[must_use]
pub fn fresh_id() -> Uuid {
    let Some(part) = here() else {
        return Uuid::now_v7();
    };
    let millis = u64::try_from(part.now().as_millisecond()).unwrap_or(0);
    let mut bytes = [0; 10];
    let random = part.random().to_be_bytes().into_iter();
    let more = part.random().to_be_bytes();
    for (byte, random) in bytes.iter_mut().zip(random.chain(more)) {
        *byte = random;
    }
    Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn part() -> Part {
        Part::new("a", Timestamp::UNIX_EPOCH, Instant::now(), 1)
    }

    #[tokio::test]
    async fn a_task_of_a_task_belongs_to_the_part_and_ends_with_it() {
        let part = part();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        part.start(async move {
            spawn(async move {
                loop {
                    if tell.send(fresh_id()).is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        assert!(told.recv().await.is_some());
        part.kill();
        while told.recv().await.is_some() {}
        assert!(part.is_dead());
    }

    #[tokio::test]
    async fn a_part_that_stands_still_goes_on_where_it_was() {
        let part = part();
        part.stand_still();
        let task = part.start(async { here().map(|part| part.name().to_owned()) });
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        part.go_on();
        assert_eq!(task.await.unwrap().as_deref(), Some("a"));
        assert!(!is_simulated());
    }

    #[test]
    fn ids_repeat_with_the_seed_only() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let of = |seed| {
            runtime.block_on(async {
                let part = Part::new("a", Timestamp::UNIX_EPOCH, Instant::now(), seed);
                part.skew(SignedDuration::ZERO);
                (part.random(), part.random())
            })
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
