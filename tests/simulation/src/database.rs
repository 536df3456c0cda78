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

use crate::api::Server;
use crate::api::json::text;
use crate::api::store::Place;
use crate::bus::SimulatedBus;
use crate::net::{Doing, Net, Verdict};

/// A schema's history, by the migration's namespace and name.
type Histories = BTreeMap<(String, String), BTreeMap<String, String>>;

/// The database of a simulation.
pub struct SimulatedDatabase {
    net: Arc<Net>,
    server: Arc<Server>,
    bus: Arc<SimulatedBus>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Digest of each applied file.
    histories: Histories,
    /// Who holds the lock of a history.
    locks: BTreeMap<(String, String), String>,
}

impl SimulatedDatabase {
    /// An empty one.
    #[must_use]
    pub fn new(net: Arc<Net>, server: Arc<Server>, bus: Arc<SimulatedBus>) -> Arc<Self> {
        Arc::new(Self {
            net,
            server,
            bus,
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

    /// What must be true when a file is committed.
    fn inspect(&self, part: &Part, job: &Job, at: &(String, String)) {
        let (who, file) = (part.name(), &job.file);
        if !self
            .bus
            .has_recorded(&job.author.reconcile_id.to_string(), "start")
        {
            self.net.broken(format!(
                "{who} commits {file} before its start is on record"
            ));
        }
        let later = |known: &&String| *known > file;
        if let Some(known) = self
            .lock()
            .histories
            .get(at)
            .and_then(|all| all.keys().find(later))
        {
            self.net
                .broken(format!("{who} commits {file} after {known}"));
        }
        let migration = Place::of("DatabaseMigration", &at.0, &at.1)
            .and_then(|place| self.server.store().get(&place));
        let released = migration
            .as_deref()
            .map_or("", |live| text(live, "/spec/release/phase"));
        if file.contains("contract") && released != "Contract" {
            self.net.broken(format!(
                "{who} commits {file} while {released:?} is released"
            ));
        }
    }
}

/// A part's line to the database.
struct Line {
    database: Arc<SimulatedDatabase>,
    part: Part,
}

/// A session's lock; it ends with the session, however that ends.
struct Lock<'a>(&'a SimulatedDatabase, (String, String));

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.lock().locks.remove(&self.1);
    }
}

impl Line {
    async fn attempt(&self, job: &Job) -> Result<AppliedFile, SqlError> {
        let (database, net) = (&self.database, &self.database.net);
        let at = (job.author.namespace.clone(), job.author.name.clone());
        let pass = |verdict: Verdict| match verdict {
            Verdict::Pass(passage) => Ok(passage),
            Verdict::Refuse(_) | Verdict::Reset => Err(SqlError::LockLost),
        };
        let connect = Doing::of_database(format!("connect for {}", job.file), false);
        let passage = pass(net.enter(&self.part, connect).await)?;
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
        let _lock = Lock(database, at.clone());
        let known = {
            let state = database.lock();
            state
                .histories
                .get(&at)
                .and_then(|all| all.get(&job.file))
                .cloned()
        };
        if let Some(sha256) = known {
            let took = Duration::ZERO;
            if sha256 != job.sha256 {
                net.broken(format!(
                    "{} finds {} with other content",
                    self.part.name(),
                    job.file
                ));
            }
            return Ok(AppliedFile {
                found_done: true,
                took,
            });
        }
        let took = Duration::from_millis(net.chance(|random| random.between(5, 900)));
        sleep(took).await;
        let commit = Doing::of_database(format!("commit {}", job.file), true);
        let passage = pass(net.enter(&self.part, commit).await)?;
        database.inspect(&self.part, job, &at);
        let row = (job.file.clone(), job.sha256.clone());
        let twice = database
            .lock()
            .histories
            .entry(at)
            .or_default()
            .insert(row.0, row.1);
        if twice.is_some() {
            net.broken(format!(
                "{} commits {} a second time",
                self.part.name(),
                job.file
            ));
        }
        // Without an answer the history is asked, in the end with success.
        if net.leave(&self.part, passage, "committed").await.is_err() {
            sleep(Duration::from_secs(1)).await;
        }
        Ok(AppliedFile {
            found_done: false,
            took,
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
            tokio::select! {
                biased;
                applied = self.attempt(job) => applied,
                () = cancel.cancelled() => Err(SqlError::Cancelled),
            }
        }
        .boxed()
    }
}
