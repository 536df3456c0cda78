//! Who holds what a statement waits for, seen from a second connection while it waits.
//!
//! Best effort: without an answer the failure is reported without names. Never touches the session
//! that does the work.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use signalbox_common::class::ErrorClass;

use super::error::{Report, SqlError};
use super::session::{ConnectionUrl, Session};
use super::{Job, lock, sqlstate};

/// Looks at one session from a second one, which is opened when the first look is due.
pub(crate) struct Monitor {
    url: ConnectionUrl,
    application: String,
    pid: i32,
    every: Duration,
    second: Option<Session>,
    gave_up: bool,
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
            gave_up: false,
        })
    }

    /// Awaits a statement. A failure that may pass comes with those last seen in its way.
    pub(crate) async fn watch(
        &mut self,
        statement: impl Future<Output = Result<(), Report>>,
    ) -> Result<(), (Report, Vec<String>)> {
        let mut statement = pin!(statement);
        let mut seen = Vec::new();
        loop {
            tokio::select! {
                biased;
                done = &mut statement => {
                    return done.map_err(|report| {
                        let passes = report.code.as_deref().map(sqlstate::class) == Some(ErrorClass::Transient);
                        (report, if passes { seen } else { Vec::new() })
                    });
                }
                found = self.look() => {
                    if !found.is_empty() {
                        seen = found;
                    }
                }
            }
        }
    }

    async fn look(&mut self) -> Vec<String> {
        tokio::time::sleep(self.every).await;
        if self.gave_up {
            return Vec::new();
        }
        let found = self.blockers().await;
        self.gave_up = found.is_none();
        found.unwrap_or_default()
    }

    async fn blockers(&mut self) -> Option<Vec<String>> {
        if self.second.is_none() {
            self.second = Some(Session::connect(&self.url, &self.application).await.ok()?);
        }
        let session = self.second.as_ref()?;
        let sql = "SELECT b.pid, coalesce(a.application_name, '') \
                   FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b(pid) \
                   LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid LIMIT 5";
        let rows = session
            .rows("look for blockers", sql, &[&self.pid])
            .await
            .ok()?;
        let name = |row| {
            let pid = session.value::<i32>("read a pid", row, 0).ok()?;
            let application = session.value::<String>("read a name", row, 1).ok()?;
            Some(lock::describe(pid, &application))
        };
        Some(rows.iter().filter_map(name).collect())
    }
}
