//! One dedicated connection to one database, and the URL that leads to it.
//!
//! Decides limits of connections and what may be told of an error. Never lets the URL or its password
//! out: neither is printed, and a server's message is scrubbed of both. No pool, no TLS.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls, Row};

use super::error::{Report, SqlError};

/// Time for a connection, from its first packet to its first use.
pub(crate) const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Time for a statement of ours: the server ends it earlier, unless it has stopped to answer.
const ANSWER_TIME: Duration = Duration::from_secs(35);

/// Settings of every session; nothing of ours may wait long, and a string ends where it is split.
const SETTINGS: &str = "SET standard_conforming_strings = on; SET lock_timeout = '10s'; \
                        SET statement_timeout = '30s'";

/// A connection URL that can't be printed.
#[derive(Clone)]
pub struct ConnectionUrl {
    config: Config,
    /// Hosts and ports, by which breakers tell servers apart; never printed.
    address: String,
    secrets: Vec<String>,
}

impl fmt::Debug for ConnectionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionUrl(_)")
    }
}

impl ConnectionUrl {
    /// Reads a URL (or `key=value` pairs). An error says nothing of what stands in it.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let text = text.trim();
        let mode = ssl_mode(text);
        if let Some(mode) = mode.filter(|mode| !matches!(mode.as_str(), "disable" | "prefer")) {
            return Err(SqlError::Tls(mode));
        }
        let mut config: Config = text.parse().map_err(|_| SqlError::Url)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(SqlError::Url);
        }
        // Said nothing: as libpq, TLS if there is any, which here is none.
        config.ssl_mode(SslMode::Disable);
        config
            .connect_timeout(CONNECT_TIME)
            .tcp_user_timeout(Duration::from_secs(15))
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        let password = config
            .get_password()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let secrets = [Some(text.to_owned()), password, raw_password(text)];
        let secrets = secrets
            .into_iter()
            .flatten()
            .filter(|secret| !secret.is_empty())
            .collect();
        let address = format!("{:?}{:?}", config.get_hosts(), config.get_ports());
        Ok(Self {
            config,
            address,
            secrets,
        })
    }

    /// What tells its server from others; not for printing.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    fn scrub(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), "***")
        })
    }

    /// What may be told of an error.
    pub(crate) fn report(&self, err: &tokio_postgres::Error) -> Report {
        let (code, message) = match err.as_db_error() {
            Some(db) => (Some(db.code().code().to_owned()), db.message().to_owned()),
            None => (
                err.code().map(|code| code.code().to_owned()),
                with_source(err),
            ),
        };
        Report {
            code,
            message: signalbox_crds::condition::clip(&self.scrub(&message), 512),
        }
    }
}

/// The value of `sslmode`, if the text has one.
fn ssl_mode(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("sslmode=")?;
    let word = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
    Some(
        rest.trim_start_matches('\'')
            .chars()
            .take_while(word)
            .take(20)
            .collect(),
    )
}

/// The password as it stands in a URL, where some characters are escaped.
fn raw_password(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    let (user, _) = rest.rsplit_once('@')?;
    user.split_once(':')
        .map(|(_, password)| password.to_owned())
}

fn with_source(err: &tokio_postgres::Error) -> String {
    match err.source() {
        Some(source) => format!("{err}: {source}"),
        None => err.to_string(),
    }
}

/// One connection; closed when dropped, which rolls back what is not committed.
pub(crate) struct Session {
    client: Client,
    driver: AbortHandle,
    url: ConnectionUrl,
    /// The server has stopped to answer: it is not asked again.
    silent: AtomicBool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects under `application`, by which others see who holds a lock.
    pub(crate) async fn connect(url: &ConnectionUrl, application: &str) -> Result<Self, SqlError> {
        let mut config = url.config.clone();
        // The server keeps 63 bytes.
        config.application_name(signalbox_crds::condition::clip(application, 63));
        let opened = tokio::time::timeout(CONNECT_TIME, async {
            let (client, connection) = config.connect(NoTls).await?;
            let driver = tokio::spawn(async move {
                if let Err(err) = connection.await {
                    tracing::debug!(closed = err.is_closed(), "a database connection ended");
                }
            });
            let session = Self {
                client,
                driver: driver.abort_handle(),
                url: url.clone(),
                silent: AtomicBool::new(false),
            };
            session.client.batch_execute(SETTINGS).await?;
            // Servers before 14 and some systems have none.
            drop(
                session
                    .client
                    .batch_execute("SET client_connection_check_interval = '5s'")
                    .await,
            );
            Ok(session)
        });
        if let Ok(opened) = opened.await {
            return opened.map_err(|err| SqlError::Connect(url.report(&err)));
        }
        Err(SqlError::Connect(Report::silence(CONNECT_TIME)))
    }

    /// Runs statements that need no parameters.
    pub(crate) async fn run(&self, what: &'static str, sql: &str) -> Result<(), SqlError> {
        let ran = self.answer(self.client.batch_execute(sql)).await;
        ran.map_err(|report| SqlError::Database { what, report })
    }

    /// One statement of a file, with the server's own words on failure. It may take as long as the server lets it:
    /// whoever awaits it looks whether the server is there.
    pub(crate) async fn run_raw(&self, sql: &str) -> Result<(), Report> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|err| self.url.report(&err))
    }

    /// COMMIT. Without an answer nobody knows whether it happened.
    pub(crate) async fn commit(&self) -> Result<(), Report> {
        self.answer(self.client.batch_execute("COMMIT")).await
    }

    /// The server has stopped to answer.
    pub(crate) fn give_up(&self) {
        self.silent.store(true, Ordering::Release);
    }

    /// Awaits an answer to a statement of ours, for a while.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Report> {
        if !self.silent.load(Ordering::Acquire) {
            if let Ok(answer) = tokio::time::timeout(ANSWER_TIME, asked).await {
                return answer.map_err(|err| self.url.report(&err));
            }
            self.give_up();
        }
        Err(Report::silence(ANSWER_TIME))
    }

    /// Rows of a query.
    pub(crate) async fn rows(
        &self,
        what: &'static str,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>, SqlError> {
        let rows = self.answer(self.client.query(sql, values)).await;
        rows.map_err(|report| SqlError::Database { what, report })
    }

    /// A value of a row; a type that differs is an error like any other.
    pub(crate) fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
        &self,
        what: &'static str,
        row: &'a Row,
        column: usize,
    ) -> Result<T, SqlError> {
        row.try_get(column).map_err(|err| self.failed(what, &err))
    }

    fn failed(&self, what: &'static str, err: &tokio_postgres::Error) -> SqlError {
        SqlError::Database {
            what,
            report: self.url.report(err),
        }
    }

    /// Asks the server to end the statement under way.
    pub(crate) async fn cancel(&self) {
        let cancel = self.client.cancel_token();
        let asked = tokio::time::timeout(CONNECT_TIME, cancel.cancel_query(NoTls)).await;
        tracing::debug!(
            asked = asked.is_ok_and(|sent| sent.is_ok()),
            "cancelled a statement"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_a_url_is_never_repeated() {
        for text in [
            "postgres://u:hunter2@[bad",
            "hunter2",
            "",
            "postgres://u:hunter2@h:port/db",
        ] {
            let err = ConnectionUrl::parse(text).unwrap_err();
            assert_eq!(err, SqlError::Url);
            assert!(!format!("{err} {err:?}").contains("hunter2"));
        }
        let url = ConnectionUrl::parse("postgres://u:hun%40ter2@h/db").unwrap();
        assert_eq!(format!("{url:?}"), "ConnectionUrl(_)");
        assert_eq!(url.scrub("a hun@ter2 b hun%40ter2 c"), "a *** b *** c");
    }

    #[test]
    fn tls_is_refused_by_name() {
        for (mode, taken) in [
            ("disable", true),
            ("prefer", true),
            ("require", false),
            ("verify-full", false),
        ] {
            let url = ConnectionUrl::parse(&format!("postgres://u@h/db?sslmode={mode}&a"));
            match url {
                Err(SqlError::Tls(found)) => assert!(!taken && found == mode),
                other => assert!(taken, "{other:?}"),
            }
        }
    }
}
