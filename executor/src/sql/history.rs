//! The tables that make a file run once: the epoch, the history and the record of attempts.
//!
//! All of it under the history's lock. Decides what a row says; never whether a file runs.

use super::Job;
use super::error::SqlError;
use super::session::Session;

/// Version of the program, kept with each row.
const TOOL: &str = concat!("signalbox ", env!("CARGO_PKG_VERSION"));

/// The history of one schema; the name is checked, so it can stand in statements.
#[derive(Clone, Debug)]
pub(crate) struct History {
    schema: String,
}

/// What the history says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `applied`, or what another way of running files left.
    pub(crate) state: String,
    /// SHA-256 of the file, in hex.
    pub(crate) checksum: String,
}

impl History {
    /// The history in `schema`.
    pub(crate) fn new(schema: &str) -> Result<Self, SqlError> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let other = |byte: u8| first(byte) || byte.is_ascii_digit();
        let plain = schema.bytes().next().is_some_and(first) && schema.bytes().all(other);
        if !plain || schema.len() > 40 {
            return Err(SqlError::Schema(signalbox_crds::condition::clip(
                schema, 40,
            )));
        }
        Ok(Self {
            schema: schema.to_owned(),
        })
    }

    /// Name of the schema.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    fn table(&self, name: &str) -> String {
        format!("\"{}\".{name}", self.schema)
    }

    /// Makes schema and tables where they are missing. Only under the lock: two at once can fail.
    pub(crate) async fn bootstrap(&self, session: &Session) -> Result<(), SqlError> {
        let what = "look for the history's tables";
        let names = ["lease", "history", "attempts"].map(|name| self.table(name));
        let sql = "SELECT count(pg_catalog.to_regclass(name)) FROM pg_catalog.unnest($1::text[]) AS t(name)";
        let rows = session.rows(what, sql, &[&names.as_slice()]).await?;
        let found = match rows.first() {
            Some(row) => session.value::<i64>(what, row, 0)?,
            None => 0,
        };
        if found == 3 {
            return Ok(());
        }
        session
            .run("make the history's tables", &self.definitions())
            .await
    }

    fn definitions(&self) -> String {
        let (lease, history, attempts) = (
            self.table("lease"),
            self.table("history"),
            self.table("attempts"),
        );
        format!(
            "CREATE SCHEMA IF NOT EXISTS \"{schema}\";
CREATE TABLE IF NOT EXISTS {lease}(
  id int PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp());
CREATE TABLE IF NOT EXISTS {history}(
  seq bigint GENERATED ALWAYS AS IDENTITY, version text, kind text, description text,
  checksum bytea NOT NULL, tx_mode text, state text NOT NULL,
  stmt_total int, stmt_applied int DEFAULT 0, stmt_hashes bytea[] DEFAULT '{{}}',
  error_sqlstate text, error_stmt int, error_message text, schema_fingerprint bytea,
  started_at timestamptz DEFAULT pg_catalog.clock_timestamp(), finished_at timestamptz,
  execution_ms bigint, applied_by text DEFAULT current_user, executor_id text, epoch bigint,
  plan_hash bytea, action_id uuid, reconcile_id uuid, cr_uid text, cr_generation bigint,
  tool_version text, PRIMARY KEY(kind, version));
CREATE UNIQUE INDEX IF NOT EXISTS one_unfinished ON {history}((true)) WHERE state IN ('running', 'failed');
CREATE TABLE IF NOT EXISTS {attempts}(
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, version text NOT NULL, description text,
  checksum bytea NOT NULL, attempt bigint, class text NOT NULL,
  error_sqlstate text, error_stmt int, error_message text,
  at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(), executor_id text, epoch bigint,
  action_id uuid, reconcile_id uuid, cr_uid text, tool_version text)",
            schema = self.schema
        )
    }

    /// Takes over: the new epoch fences every session that took the lock before.
    pub(crate) async fn take_over(&self, session: &Session, holder: &str) -> Result<i64, SqlError> {
        let what = "raise the history's epoch";
        let lease = self.table("lease");
        let sql = format!(
            "INSERT INTO {lease} AS l(id, epoch, holder) VALUES (1, 1, $1) ON CONFLICT (id) DO UPDATE \
             SET epoch = l.epoch + 1, holder = $1, at = pg_catalog.clock_timestamp() RETURNING epoch"
        );
        self.epoch_of(what, session, &sql, &[&holder]).await
    }

    /// Locks the epoch until the end of the transaction; another one than `own` is an error.
    pub(crate) async fn fence(&self, session: &Session, own: i64) -> Result<(), SqlError> {
        let sql = format!(
            "SELECT epoch FROM {} WHERE id = 1 FOR UPDATE",
            self.table("lease")
        );
        let found = self
            .epoch_of("lock the history's epoch", session, &sql, &[])
            .await?;
        if found == own {
            Ok(())
        } else {
            Err(SqlError::Fenced { own, found })
        }
    }

    async fn epoch_of(
        &self,
        what: &'static str,
        session: &Session,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<i64, SqlError> {
        match session.rows(what, sql, values).await?.first() {
            Some(row) => session.value(what, row, 0),
            None => Ok(0),
        }
    }

    /// What the history says of a version.
    pub(crate) async fn find(
        &self,
        session: &Session,
        version: &str,
    ) -> Result<Option<Entry>, SqlError> {
        let what = "read the history";
        let sql = format!(
            "SELECT state, pg_catalog.encode(checksum, 'hex') FROM {} WHERE kind = 'versioned' AND version = $1",
            self.table("history")
        );
        let rows = session.rows(what, &sql, &[&version]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let (state, checksum) = (session.value(what, row, 0)?, session.value(what, row, 1)?);
        Ok(Some(Entry { state, checksum }))
    }

    /// Writes the row of an applied file, in the transaction of its statements.
    pub(crate) async fn insert(
        &self,
        session: &Session,
        job: &Job,
        epoch: i64,
        statements: i32,
    ) -> Result<(), SqlError> {
        let sql = format!(
            "INSERT INTO {}(version, kind, description, checksum, tx_mode, state, stmt_total, stmt_applied, \
             started_at, finished_at, execution_ms, executor_id, epoch, action_id, reconcile_id, cr_uid, \
             tool_version) VALUES ($1, 'versioned', $2, pg_catalog.decode($3, 'hex'), 'file', 'applied', $4, $4, \
             pg_catalog.transaction_timestamp(), pg_catalog.clock_timestamp(), \
             (extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.transaction_timestamp()) * 1000)::bigint, \
             $5, $6, $7::text::uuid, $8::text::uuid, $9, $10)",
            self.table("history")
        );
        let author = &job.author;
        let (step, reconcile) = (author.step_id.to_string(), author.reconcile_id.to_string());
        session
            .rows(
                "write the history",
                &sql,
                &[
                    &job.version,
                    &job.file,
                    &job.sha256,
                    &statements,
                    &author.executor,
                    &epoch,
                    &step,
                    &reconcile,
                    &author.uid,
                    &TOOL,
                ],
            )
            .await
            .map(drop)
    }

    /// Records a failed attempt, outside any transaction.
    pub(crate) async fn note(
        &self,
        session: &Session,
        job: &Job,
        epoch: i64,
        class: &str,
        err: &SqlError,
    ) -> Result<(), SqlError> {
        let sql = format!(
            "INSERT INTO {}(version, description, checksum, attempt, class, error_sqlstate, error_stmt, \
             error_message, executor_id, epoch, action_id, reconcile_id, cr_uid, tool_version) VALUES ($1, $2, \
             pg_catalog.decode($3, 'hex'), $4, $5, $6, $7, $8, $9, $10, $11::text::uuid, $12::text::uuid, $13, $14)",
            self.table("attempts")
        );
        let author = &job.author;
        let (step, reconcile) = (author.step_id.to_string(), author.reconcile_id.to_string());
        let (sqlstate, statement) = err.place();
        let message = err.to_string();
        session
            .rows(
                "record the attempt",
                &sql,
                &[
                    &job.version,
                    &job.file,
                    &job.sha256,
                    &i64::from(author.attempt),
                    &class,
                    &sqlstate,
                    &statement,
                    &message,
                    &author.executor,
                    &epoch,
                    &step,
                    &reconcile,
                    &author.uid,
                    &TOOL,
                ],
            )
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_stand_in_statements() {
        assert_eq!(
            History::new("signalbox_2").unwrap().table("lease"),
            "\"signalbox_2\".lease"
        );
        for bad in ["", "a\"b", "A", "1a", "a;b", "a-b", &"a".repeat(41)] {
            assert!(
                matches!(History::new(bad), Err(SqlError::Schema(_))),
                "{bad}"
            );
        }
    }
}
