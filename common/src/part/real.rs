//! The part is the process.

use tokio::task::JoinHandle;
use uuid::Uuid;

/// Starts a task of this part.
pub fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(task)
}

/// Work of this part that somebody else starts as a task, such as a set of tasks.
pub const fn own<F: Future>(work: F) -> F {
    work
}

/// An id that nobody had before; later ones are greater.
#[must_use]
pub fn fresh_id() -> Uuid {
    Uuid::now_v7()
}
