//! A database in memory: a history of applied files, a lock that ends with its holder, commits that may
//! happen without an answer.
//!
//! Stands in for the SQL alone; claims, Leases, results and their order are the executor's own. What SQL
//! does on a real server is proven there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use signalbox_common::part::Part;
use signalbox_executor::sql::{AppliedFile, Database, Job, SqlError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::net::{Net, Passage, Side, Verdict};
use crate::oracle::Oracle;

/// Namespace and name of a migration: there is one history for each.
type Schema = (String, String);

/// The database of a simulation.
pub struct SimulatedDatabase {
    net: Arc<Net>,
    oracle: Arc<Oracle>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Digest of each applied file.
    histories: BTreeMap<Schema, BTreeMap<String, String>>,
    /// Who holds the lock of a history.
    locks: BTreeMap<Schema, String>,
}

impl SimulatedDatabase {
    /// An empty one.
    #[must_use]
    pub fn new(net: Arc<Net>, oracle: Arc<Oracle>) -> Arc<Self> {
        Arc::new(Self {
            net,
            oracle,
            state: Mutex::default(),
        })
    }

    /// The line of a part.
    #[must_use]
    pub fn line(self: &Arc<Self>, part: &Part) -> Arc<dyn Database> {
        Arc::new(Line {
            database: self.clone(),
            part: part.clone(),
        })
    }

    /// Applied files of a migration, in order of their names.
    #[must_use]
    pub fn applied(&self, namespace: &str, name: &str) -> Vec<String> {
        let at = (namespace.to_owned(), name.to_owned());
        let state = self.lock();
        let history = state.histories.get(&at);
        history
            .into_iter()
            .flat_map(|history| history.keys().cloned())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a file's row with its statements.
    fn commit(&self, part: &Part, job: &Job, at: Schema) {
        let (who, file) = (part.name(), &job.file);
        self.oracle.commits(who, job, &self.applied(&at.0, &at.1));
        let mut state = self.lock();
        let history = state.histories.entry(at).or_default();
        if history.insert(file.clone(), job.sha256.clone()).is_some() {
            drop(state);
            self.net
                .broken(format!("{who} commits {file} a second time"));
        }
    }
}

/// A part's line to the database.
struct Line {
    database: Arc<SimulatedDatabase>,
    part: Part,
}

/// A session's lock; it ends with the session, however that ends.
struct Lock<'a>(&'a SimulatedDatabase, Schema);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.lock().locks.remove(&self.1);
    }
}

/// A transaction that is about to be committed.
struct Open<'a> {
    at: Schema,
    took: Duration,
    passage: Passage,
    fault: Option<u64>,
    _lock: Lock<'a>,
}

/// How far an attempt came before its commit.
enum Ready<'a> {
    Found,
    Open(Open<'a>),
}

impl Line {
    async fn pass(&self, doing: crate::net::Doing) -> Result<Passage, SqlError> {
        match self.database.net.enter(&self.part, doing).await {
            Verdict::Pass(passage) => Ok(passage),
            Verdict::Refuse(_) | Verdict::Reset => Err(SqlError::LockLost),
        }
    }

    /// Everything before the commit: until then nothing is done, and a cancelled file leaves nothing behind.
    async fn prepare(&self, job: &Job) -> Result<Ready<'_>, SqlError> {
        let (database, net) = (&*self.database, &self.database.net);
        let at = (job.author.namespace.clone(), job.author.name.clone());
        let connect = net.doing(
            Side::Database,
            false,
            format_args!("connect for {}", job.file),
        );
        let passage = self.pass(connect).await?;
        net.leave(&self.part, passage, "")
            .await
            .map_err(|_lost| SqlError::LockLost)?;
        let holder = database.lock().locks.get(&at).cloned();
        if let Some(holder) = holder {
            return Err(SqlError::LockHeld { holder });
        }
        database
            .lock()
            .locks
            .insert(at.clone(), self.part.name().to_owned());
        let lock = Lock(database, at.clone());
        let known = {
            let state = database.lock();
            let history = state.histories.get(&at);
            history.and_then(|all| all.get(&job.file)).cloned()
        };
        if let Some(sha256) = known {
            if sha256 != job.sha256 {
                let who = self.part.name();
                net.broken(format!("{who} finds {} with other content", job.file));
            }
            return Ok(Ready::Found);
        }
        let took = Duration::from_millis(net.chance(|random| random.between(5, 900)));
        sleep(took).await;
        let fault = net.sql_fault();
        if fault == Some(0) {
            return Err(SqlError::LockHeld {
                holder: "somebody else's session".to_owned(),
            });
        }
        let commit = net.doing(Side::Database, true, format_args!("commit {}", job.file));
        let passage = self.pass(commit).await?;
        Ok(Ready::Open(Open {
            at,
            took,
            passage,
            fault,
            _lock: lock,
        }))
    }

    /// The commit: nobody cancels it; without an answer the history is asked, as a rule with success.
    async fn finish(&self, job: &Job, open: Open<'_>) -> Result<AppliedFile, SqlError> {
        let file = job.file.clone();
        if open.fault == Some(1) {
            return Err(SqlError::NotCommitted { file });
        }
        // The server ends before the commit, or right behind it, and can't be asked for long.
        let is_unknown = open.fault == Some(2);
        let happens = !is_unknown || self.database.net.chance(|random| random.in_thousand(500));
        if happens {
            self.database.commit(&self.part, job, open.at);
        }
        let left = self
            .database
            .net
            .leave(&self.part, open.passage, "committed");
        if left.await.is_err() {
            sleep(Duration::from_secs(1)).await;
        }
        if is_unknown {
            let reason = "the server is away".to_owned();
            return Err(SqlError::Unknown { file, reason });
        }
        Ok(AppliedFile {
            found_done: false,
            took: open.took,
        })
    }
}

impl Database for Line {
    fn apply<'a>(
        &'a self,
        job: &'a Job,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<AppliedFile, SqlError>> {
        async move {
            let ready = tokio::select! {
                biased;
                ready = self.prepare(job) => ready?,
                () = cancel.cancelled() => return Err(SqlError::Cancelled),
            };
            match ready {
                Ready::Open(open) => self.finish(job, open).await,
                Ready::Found => Ok(AppliedFile {
                    found_done: true,
                    took: Duration::ZERO,
                }),
            }
        }
        .boxed()
    }
}
