//! The history's advisory lock: taken by trying again and again, never by waiting inside the server.
//!
//! A waiting session would hold a snapshot that `CREATE INDEX CONCURRENTLY` waits for. The key comes
//! from the history's schema, never from a custom resource, so all that use one history exclude each other.

use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::error::SqlError;
use super::session::Session;

/// First half of the key: `SBGM`.
pub(crate) const CLASS: i32 = 0x5342_474d;
/// Mean time between two tries.
const POLL: Duration = Duration::from_millis(250);

/// Second half of the key: 31 bits of the schema's hash.
#[must_use]
pub(crate) fn key(schema: &str) -> i32 {
    let hash = Sha256::digest(format!("signalbox:{schema}").as_bytes());
    let head = hash
        .iter()
        .take(4)
        .fold(0_u32, |head, &byte| (head << 8) | u32::from(byte));
    i32::try_from(head >> 1).unwrap_or(0)
}

/// Wait before the next try, half to one and a half of the mean by `jitter` (0 to 1).
fn pause(jitter: f64) -> Duration {
    POLL.mul_f64(0.5 + jitter.clamp(0.0, 1.0))
}

/// Takes the lock within `limit`, or tells who holds it.
pub(crate) async fn acquire(
    session: &Session,
    schema: &str,
    limit: Duration,
) -> Result<(), SqlError> {
    let until = Instant::now() + limit;
    let key = key(schema);
    loop {
        let what = "try the history's lock";
        let sql = "SELECT pg_catalog.pg_try_advisory_lock($1, $2)";
        let taken = match session.rows(what, sql, &[&CLASS, &key]).await?.first() {
            Some(row) => session.value::<bool>(what, row, 0)?,
            None => false,
        };
        if taken {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(SqlError::LockHeld {
                holder: holder(session, key).await,
            });
        }
        tokio::time::sleep(pause(rand::random::<f64>())).await;
    }
}

/// Whether this very backend holds the lock. Behind a pooler it may not be the one that took it.
pub(crate) async fn is_held(session: &Session, schema: &str) -> Result<bool, SqlError> {
    let sql = format!(
        "SELECT 1 FROM pg_catalog.pg_locks WHERE {} AND pid = pg_catalog.pg_backend_pid()",
        of_key(key(schema))
    );
    Ok(!session
        .rows("look for the history's lock", &sql, &[])
        .await?
        .is_empty())
}

fn of_key(key: i32) -> String {
    format!(
        "locktype = 'advisory' AND granted AND classid = {CLASS} AND objid = {key} AND objsubid = 2 \
         AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    )
}

async fn holder(session: &Session, key: i32) -> String {
    let sql = format!(
        "SELECT l.pid, coalesce(a.application_name, '') FROM pg_catalog.pg_locks l \
         LEFT JOIN pg_catalog.pg_stat_activity a USING (pid) WHERE {}",
        of_key(key)
    );
    let found = session
        .rows("look for the lock's holder", &sql, &[])
        .await
        .ok();
    let named = found
        .as_ref()
        .and_then(|rows| rows.first())
        .and_then(|row| {
            let pid = session.value::<i32>("read a pid", row, 0).ok()?;
            let name = session.value::<String>("read a name", row, 1).ok()?;
            Some(describe(pid, &name))
        });
    named.unwrap_or_else(|| "a session that has ended since".to_owned())
}

/// A session, for people.
pub(crate) fn describe(pid: i32, application: &str) -> String {
    let application = if application.is_empty() {
        "no application name"
    } else {
        application
    };
    format!("pid {pid} ({application})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_the_schema_and_is_no_negative_number() {
        assert_eq!(CLASS, 1_396_852_557);
        assert_eq!(key("signalbox"), key("signalbox"));
        assert_ne!(key("signalbox"), key("other"));
        assert!((0..100).all(|n| key(&format!("s{n}")) >= 0));
    }

    #[test]
    fn tries_are_spread_round_the_mean() {
        assert_eq!(pause(0.0), Duration::from_millis(125));
        assert_eq!(pause(1.0), Duration::from_millis(375));
    }
}
