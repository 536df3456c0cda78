//! One versioned SQL file against one PostgreSQL database, exactly once.
//!
//! The file's statements and its row of the history commit together, under an advisory lock and an
//! epoch; whoever comes again finds the row. Never decides whether a file should run.

mod blockers;
mod database;
mod error;
mod history;
mod lexer;
mod lock;
mod session;
mod split;
mod sqlstate;
mod transaction;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signalbox_common::class::Classify as _;
use signalbox_common::id::{ReconcileId, StepId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use database::{Database, Postgres};
pub use error::{Report, SqlError};
pub use session::ConnectionUrl;
pub use split::{SplitError, Statement, split};

use history::History;
use session::Session;
use transaction::Ended;

/// Time in which the outcome of an unanswered COMMIT is looked for.
const SETTLE_TIME: Duration = Duration::from_mins(5);
/// The same once the work is cancelled.
const SETTLE_CANCELLED: Duration = Duration::from_secs(10);
/// Time between two looks.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// What is to be done, and for whom.
#[derive(Clone, Debug)]
pub struct Job {
    /// The database.
    pub url: ConnectionUrl,
    /// Schema of the history.
    pub history_schema: String,
    /// Name of the file.
    pub file: String,
    /// Version of the file.
    pub version: String,
    /// SHA-256 of the statements, in hex.
    pub sha256: String,
    /// The statements.
    pub sql: String,
    /// Time limits.
    pub limits: Limits,
    /// Who asks.
    pub author: Author,
}

/// Time limits of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Waiting for a lock inside the transaction.
    pub lock: Duration,
    /// One statement.
    pub statement: Duration,
    /// Waiting for another migration of the same history.
    pub history_lock: Duration,
}

/// Who asks: kept in the history and shown to who looks at the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The executor.
    pub executor: String,
    /// Namespace of the migration.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Id of the step.
    pub step_id: StepId,
    /// Attempt, from 1.
    pub attempt: u32,
    /// The flight that claimed it.
    pub reconcile_id: ReconcileId,
}

impl Author {
    /// Application name of the session.
    fn application(&self) -> String {
        format!(
            "signalbox/{}/{}/{}",
            self.executor, self.namespace, self.name
        )
    }
}

/// A file that is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedFile {
    /// Somebody had applied it before.
    pub found_done: bool,
    /// Time that it took.
    pub took: Duration,
}

/// Applies the file, unless the history says that it is applied.
///
/// A cancelled file is rolled back; one whose COMMIT is under way is waited for, since only the
/// history can tell what became of it.
pub async fn apply(job: &Job, cancel: &CancellationToken) -> Result<AppliedFile, SqlError> {
    let begun = Instant::now();
    let history = History::new(&job.history_schema)?;
    let refused = |reason| SqlError::Refused {
        file: job.file.clone(),
        reason,
    };
    let statements = split(&job.sql).map_err(refused)?;
    let application = job.author.application();
    let session = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(SqlError::Cancelled),
        session = Session::connect(&job.url, &application) => session?,
    };
    let committing = AtomicBool::new(false);
    let result = {
        let mut work = std::pin::pin!(attempt(&session, &history, job, &statements, &committing));
        tokio::select! {
            biased;
            result = &mut work => Some(result),
            () = cancel.cancelled() => {
                if committing.load(Ordering::Acquire) {
                    let waited = tokio::time::timeout(SETTLE_CANCELLED, work).await;
                    Some(waited.unwrap_or(Ok(Ended::Unanswered)))
                } else {
                    None
                }
            }
        }
    };
    let Some(result) = result else {
        session.cancel().await;
        return Err(SqlError::Cancelled);
    };
    let ended = match result? {
        Ended::Unanswered => {
            drop(session);
            settle(&history, job, cancel).await?
        }
        ended @ (Ended::Applied | Ended::Found) => ended,
    };
    Ok(AppliedFile {
        found_done: ended == Ended::Found,
        took: begun.elapsed(),
    })
}

/// Under the lock: the tables, the epoch, the transaction; a failure goes to the record of attempts.
async fn attempt(
    session: &Session,
    history: &History,
    job: &Job,
    statements: &[Statement<'_>],
    committing: &AtomicBool,
) -> Result<Ended, SqlError> {
    lock::acquire(session, history.schema(), job.limits.history_lock).await?;
    history.bootstrap(session).await?;
    let epoch = history
        .take_over(session, &job.author.application())
        .await?;
    let ended = transaction::apply(session, history, job, statements, epoch, committing).await;
    if let Err(err) = &ended {
        let class = err.class().label();
        let noted = async {
            session.run("end the transaction", "ROLLBACK").await?;
            history.note(session, job, epoch, class, err).await
        };
        if let Err(unnoted) = noted.await {
            tracing::debug!(file = job.file, %unnoted, "an attempt is not on record");
        }
    }
    ended
}

/// The outcome of an unanswered COMMIT, read under the lock: having it proves that the session which
/// sent COMMIT is gone, and so its transaction is over.
async fn settle(
    history: &History,
    job: &Job,
    cancel: &CancellationToken,
) -> Result<Ended, SqlError> {
    let begun = Instant::now();
    loop {
        let limit = if cancel.is_cancelled() {
            SETTLE_CANCELLED
        } else {
            SETTLE_TIME
        };
        let left = limit.saturating_sub(begun.elapsed()).min(SETTLE_CANCELLED);
        let looked = tokio::time::timeout(left, look(history, job)).await;
        let reason = match looked {
            Ok(Ok(true)) => return Ok(Ended::Applied),
            Ok(Ok(false)) => {
                return Err(SqlError::NotCommitted {
                    file: job.file.clone(),
                });
            }
            Ok(Err(err @ (SqlError::ChecksumMismatch { .. } | SqlError::Unfinished { .. }))) => {
                return Err(err);
            }
            Ok(Err(err)) => err.to_string(),
            Err(_) => format!("no answer in {} s", left.as_secs()),
        };
        if begun.elapsed() + SETTLE_PAUSE >= limit {
            return Err(SqlError::Unknown {
                file: job.file.clone(),
                reason,
            });
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

async fn look(history: &History, job: &Job) -> Result<bool, SqlError> {
    let session = Session::connect(&job.url, &job.author.application()).await?;
    lock::acquire(&session, history.schema(), job.limits.history_lock).await?;
    transaction::is_applied(history.find(&session, &job.version).await?, job)
}
