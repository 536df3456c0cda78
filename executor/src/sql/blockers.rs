//! Who holds what a statement waits for, seen from a second connection while it waits.
//!
//! Best effort: without names the failure is reported without them. A server that answers none of several looks in
//! a row has stopped to answer the statement as well; one whose session has nothing to do meanwhile never got the
//! statement, or its answer is lost. Never touches the session that does the work.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use signalbox_common::class::ErrorClass;
use tokio::time::Instant;

use super::error::{Report, SqlError};
use super::session::{CONNECT_TIME, ConnectionUrl, Session};
use super::{Job, lock, sqlstate};

/// Looks in a row without an answer, or at a session that has nothing to do, after which the server counts as silent. Whatever the statement does is rolled
/// back with its session; a later attempt needs the history's lock, which that one holds as long as it lives.
const SILENT_LOOKS: u32 = 3;

/// What a look found.
enum Look {
    /// Who is in the way; often nobody.
    Seen(Vec<String>),
    /// The session has nothing to do, or is no more.
    Idle,
    /// The server does not answer.
    Silent,
    /// The server does not let anybody look.
    Refused,
}

/// Looks at one session from a second one, which is opened when the first look is due.
pub(crate) struct Monitor {
    url: ConnectionUrl,
    application: String,
    pid: i32,
    every: Duration,
    second: Option<Session>,
    refused: bool,
    /// Looks in a row without an answer, or at a session that has nothing to do.
    silent: u32,
    began: Instant,
}

impl Monitor {
    /// A monitor of `session`.
    pub(crate) async fn new(session: &Session, job: &Job) -> Result<Self, SqlError> {
        let what = "read the session's pid";
        let rows = session
            .rows(what, "SELECT pg_catalog.pg_backend_pid()", &[])
            .await?;
        let pid = match rows.first() {
            Some(row) => session.value(what, row, 0)?,
            None => 0,
        };
        Ok(Self {
            url: job.url.clone(),
            application: job.author.application(),
            pid,
            // Twice within one wait for a lock, so that the last look is not long ago.
            every: (job.limits.lock / 2).clamp(Duration::from_millis(250), Duration::from_secs(5)),
            second: None,
            refused: false,
            silent: 0,
            began: Instant::now(),
        })
    }

    /// Awaits a statement. A failure that may pass comes with those last seen in its way.
    pub(crate) async fn watch(
        &mut self,
        statement: impl Future<Output = Result<(), Report>>,
    ) -> Result<(), (Report, Vec<String>)> {
        let mut statement = pin!(statement);
        let mut seen = Vec::new();
        (self.silent, self.began) = (0, Instant::now());
        loop {
            let look = tokio::select! {
                biased;
                done = &mut statement => {
                    return done.map_err(|report| {
                        let passes = report.code.as_deref().map(sqlstate::class) == Some(ErrorClass::Transient);
                        (report, if passes { seen } else { Vec::new() })
                    });
                }
                look = self.look() => look,
            };
            self.silent = match look {
                Look::Seen(found) => {
                    if !found.is_empty() {
                        seen = found;
                    }
                    0
                }
                Look::Refused => 0,
                Look::Silent | Look::Idle => self.silent + 1,
            };
            if self.silent >= SILENT_LOOKS {
                return Err((Report::silence(self.began.elapsed()), Vec::new()));
            }
        }
    }

    async fn look(&mut self) -> Look {
        tokio::time::sleep(self.every).await;
        if self.refused {
            return Look::Refused;
        }
        let look = match tokio::time::timeout(CONNECT_TIME, self.blockers()).await {
            Ok(Ok(Some(found))) => Look::Seen(found),
            Ok(Ok(None)) => Look::Idle,
            Ok(Err(err)) if !is_silence(&err) => {
                self.refused = true;
                Look::Refused
            }
            Ok(Err(_)) | Err(_) => Look::Silent,
        };
        if matches!(look, Look::Silent) {
            self.second = None;
        }
        look
    }

    /// Who is in the session's way; none: nobody can be, since it has nothing to do.
    async fn blockers(&mut self) -> Result<Option<Vec<String>>, SqlError> {
        let session = match self.second.take() {
            Some(session) => session,
            None => Session::connect(&self.url, &self.application).await?,
        };
        let session = self.second.insert(session);
        let sql = "SELECT count(*) FROM pg_catalog.pg_stat_activity a \
                   WHERE a.pid = $1 AND coalesce(a.state, '') NOT LIKE 'idle%'";
        let rows = session.rows("look at a session", sql, &[&self.pid]).await?;
        let busy = rows
            .first()
            .map(|row| session.value::<i64>("count sessions", row, 0));
        if busy.transpose()? == Some(0) {
            return Ok(None);
        }
        let sql = "SELECT b.pid, coalesce(a.application_name, '') \
                   FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b(pid) \
                   LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid LIMIT 5";
        let rows = session.rows("look for blockers", sql, &[&self.pid]).await?;
        let name = |row| {
            let pid = session.value::<i32>("read a pid", row, 0).ok()?;
            let application = session.value::<String>("read a name", row, 1).ok()?;
            Some(lock::describe(pid, &application))
        };
        Ok(Some(rows.iter().filter_map(name).collect()))
    }
}

fn is_silence(err: &SqlError) -> bool {
    let (SqlError::Connect(report) | SqlError::Database { report, .. }) = err else {
        return false;
    };
    report.is_silence()
}
