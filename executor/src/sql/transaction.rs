//! One file in one transaction, with its row of the history: both or neither.
//!
//! Decides when a file counts as applied. Never sends COMMIT without having seen its own epoch and its
//! own lock in the same transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use super::blockers::Monitor;
use super::error::SqlError;
use super::history::{Entry, History};
use super::session::Session;
use super::split::Statement;
use super::{Job, lock};
use crate::claims::crash::{self, Point};

/// How a transaction ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This transaction applied the file.
    Applied,
    /// The history had its row already; nothing was done.
    Found,
    /// COMMIT was sent; whether it happened is to be read under the lock, taken anew.
    Unanswered,
}

/// Runs the file's statements and writes its row.
///
/// `committing` is set right before COMMIT is sent: from then on only the history knows.
pub(crate) async fn apply(
    session: &Session,
    history: &History,
    job: &Job,
    statements: &[Statement<'_>],
    epoch: i64,
    committing: &AtomicBool,
) -> Result<Ended, SqlError> {
    begin(session, job).await?;
    history.fence(session, epoch).await?;
    hold(session, history).await?;
    if is_applied(history.find(session, &job.version).await?, job)? {
        session.run("end the transaction", "ROLLBACK").await?;
        return Ok(Ended::Found);
    }
    run(session, job, statements).await?;
    // The file may have changed the role.
    session.run("take back the role", "RESET ROLE").await?;
    hold(session, history).await?;
    let count = i32::try_from(statements.len()).unwrap_or(i32::MAX);
    history.insert(session, job, epoch, count).await?;
    crash::at(Point::BeforeCommit);
    committing.store(true, Ordering::Release);
    match session.commit().await {
        Ok(()) => {
            crash::at(Point::AfterCommit);
            confirm(session, history, job).await
        }
        Err(report) if report.is_lost() => Ok(Ended::Unanswered),
        Err(report) => {
            committing.store(false, Ordering::Release);
            Err(SqlError::Commit {
                file: job.file.clone(),
                report,
            })
        }
    }
}

/// Success is what the history says, not what was answered.
async fn confirm(session: &Session, history: &History, job: &Job) -> Result<Ended, SqlError> {
    match history.find(session, &job.version).await {
        Ok(entry) if is_applied(entry.clone(), job)? => Ok(Ended::Applied),
        Ok(_) => Err(SqlError::NotCommitted {
            file: job.file.clone(),
        }),
        Err(_) => Ok(Ended::Unanswered),
    }
}

async fn begin(session: &Session, job: &Job) -> Result<(), SqlError> {
    let sql = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}; \
         SET LOCAL statement_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = '60s'",
        job.limits.lock.as_millis(),
        job.limits.statement.as_millis(),
    );
    session.run("begin the transaction", &sql).await
}

async fn hold(session: &Session, history: &History) -> Result<(), SqlError> {
    if lock::is_held(session, history.schema()).await? {
        Ok(())
    } else {
        Err(SqlError::LockLost)
    }
}

/// Whether the history has this very file; another content under its version is an error.
pub(crate) fn is_applied(entry: Option<Entry>, job: &Job) -> Result<bool, SqlError> {
    let Some(Entry { state, checksum }) = entry else {
        return Ok(false);
    };
    let (file, version) = (job.file.clone(), job.version.clone());
    if state != "applied" {
        return Err(SqlError::Unfinished {
            file,
            version,
            state,
        });
    }
    if checksum != job.sha256 {
        let wanted = job.sha256.clone();
        return Err(SqlError::ChecksumMismatch {
            file,
            version,
            applied: checksum,
            wanted,
        });
    }
    Ok(true)
}

async fn run(session: &Session, job: &Job, statements: &[Statement<'_>]) -> Result<(), SqlError> {
    let mut monitor = Monitor::new(session, job).await?;
    for statement in statements {
        let ran = monitor.watch(session.run_raw(statement.text)).await;
        if let Err((report, blockers)) = ran {
            if report.is_silence() {
                session.give_up();
            }
            return Err(SqlError::Statement {
                file: job.file.clone(),
                number: statement.number,
                line: statement.line,
                report,
                blockers,
            });
        }
    }
    Ok(())
}
