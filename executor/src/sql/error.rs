//! Why a file was not applied, each reason with a class.
//!
//! Decides which errors may pass by themselves. Never holds a connection URL, a password or the
//! details of a server's error, which may quote rows.

use std::time::Duration;

use signalbox_common::class::{Classify, ErrorClass};

use super::split::SplitError;
use super::sqlstate;

/// Why a file was not applied. Nothing is left behind, except where the variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The connection URL can't be read. What it says is never repeated.
    #[error(
        "the connection URL can't be read; expected postgres://user:password@host:port/database"
    )]
    Url,
    /// The connection URL asks for TLS.
    #[error("sslmode={0} is not supported: connections are made without TLS (disable or prefer)")]
    Tls(String),
    /// The name of the history's schema is no plain identifier.
    #[error("{0:?} is no name for a history schema (letters, digits and _, in lower case)")]
    Schema(String),
    /// No connection.
    #[error("failed to connect to the database: {0}")]
    Connect(Report),
    /// The connection was lost, or one of Signalbox's own statements failed.
    #[error("failed to {what}: {report}")]
    Database {
        /// What was tried.
        what: &'static str,
        /// What the server said.
        report: Report,
    },
    /// Another session works on this history.
    #[error("another migration holds the history's lock: {holder}")]
    LockHeld {
        /// Pid and application name of the holder, as far as they can be seen.
        holder: String,
    },
    /// The session does not hold the lock that it took: a pooler gave it another backend.
    #[error(
        "the history's lock is lost: the session changes its backend (a pooler in transaction mode?); \
         migrations need a direct connection"
    )]
    LockLost,
    /// A later session has taken over.
    #[error("another executor has taken over this history (epoch {found}, own {own})")]
    Fenced {
        /// Own epoch.
        own: i64,
        /// The epoch found.
        found: i64,
    },
    /// The version is applied with other content.
    #[error(
        "{file}: version {version} is applied with other content (sha256 {applied}, now {wanted})"
    )]
    ChecksumMismatch {
        /// Name of the file.
        file: String,
        /// Its version.
        version: String,
        /// SHA-256 of what was applied.
        applied: String,
        /// SHA-256 of the file.
        wanted: String,
    },
    /// The history has an unfinished row of this version, from another way of running files.
    #[error("{file}: the history says that version {version} is {state}")]
    Unfinished {
        /// Name of the file.
        file: String,
        /// Its version.
        version: String,
        /// State of the row.
        state: String,
    },
    /// The file can't be run in one transaction.
    #[error("{file}: {reason}")]
    Refused {
        /// Name of the file.
        file: String,
        /// Why.
        reason: SplitError,
    },
    /// A statement failed; all were rolled back.
    #[error(
        "{file}, statement {number} (line {line}): {report}{}",
        blocked_by(blockers)
    )]
    Statement {
        /// Name of the file.
        file: String,
        /// Number of the statement, from 1.
        number: usize,
        /// The line on which it begins.
        line: usize,
        /// What the server said.
        report: Report,
        /// Who held what it waited for, as far as it was seen.
        blockers: Vec<String>,
    },
    /// The transaction was not committed.
    #[error("{file}: the commit failed: {report}")]
    Commit {
        /// Name of the file.
        file: String,
        /// What the server said.
        report: Report,
    },
    /// The answer to the commit was lost; the history shows that it did not happen.
    #[error("{file}: the connection was lost during the commit, which did not happen")]
    NotCommitted {
        /// Name of the file.
        file: String,
    },
    /// The answer to the commit was lost and the history can't be read: it may have happened.
    #[error(
        "{file}: the connection was lost during the commit, and the history can't be read: {reason}"
    )]
    Unknown {
        /// Name of the file.
        file: String,
        /// Why the history can't be read.
        reason: String,
    },
    /// The work was cancelled before its commit.
    #[error("cancelled")]
    Cancelled,
}

/// What a server (or the way to it) said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// SQLSTATE, if a server answered.
    pub code: Option<String>,
    /// Its message, without details, at most 512 bytes.
    pub message: String,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (SQLSTATE {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What a report of a server that does not answer begins with.
const NO_ANSWER: &str = "no answer in ";

impl Report {
    /// No answer came in this time.
    pub(crate) fn silence(limit: Duration) -> Self {
        Self {
            code: None,
            message: format!("{NO_ANSWER}{} s", limit.as_secs()),
        }
    }

    /// Whether no answer came at all.
    pub(crate) fn is_silence(&self) -> bool {
        self.code.is_none() && self.message.starts_with(NO_ANSWER)
    }

    fn class(&self) -> ErrorClass {
        self.code
            .as_deref()
            .map_or(ErrorClass::Transient, sqlstate::class)
    }

    /// Whether the connection itself is gone, so that an answer may have been lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.code
            .as_deref()
            .is_none_or(|code| code.starts_with("08") || code.starts_with("57P"))
    }
}

impl SqlError {
    /// SQLSTATE, number of the statement: what the record of attempts keeps beside the message.
    pub(crate) fn place(&self) -> (Option<&str>, Option<i32>) {
        match self {
            Self::Connect(report) | Self::Database { report, .. } | Self::Commit { report, .. } => {
                (report.code.as_deref(), None)
            }
            Self::Statement { number, report, .. } => {
                (report.code.as_deref(), i32::try_from(*number).ok())
            }
            Self::Url
            | Self::Tls(_)
            | Self::Schema(_)
            | Self::LockHeld { .. }
            | Self::LockLost
            | Self::Fenced { .. }
            | Self::ChecksumMismatch { .. }
            | Self::Unfinished { .. }
            | Self::Refused { .. }
            | Self::NotCommitted { .. }
            | Self::Unknown { .. }
            | Self::Cancelled => (None, None),
        }
    }
}

impl Classify for SqlError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Url
            | Self::Tls(_)
            | Self::Schema(_)
            | Self::ChecksumMismatch { .. }
            | Self::Refused { .. } => ErrorClass::Invalid,
            Self::Connect(report)
            | Self::Database { report, .. }
            | Self::Commit { report, .. }
            | Self::Statement { report, .. } => report.class(),
            // A lost lock is healed by another URL in the Secret, which nobody watches: bounded retries.
            Self::LockHeld { .. }
            | Self::LockLost
            | Self::Fenced { .. }
            | Self::NotCommitted { .. }
            | Self::Cancelled => ErrorClass::Transient,
            Self::Unfinished { .. } | Self::Unknown { .. } => ErrorClass::Ambiguous,
        }
    }
}

fn blocked_by(blockers: &[String]) -> String {
    if blockers.is_empty() {
        String::new()
    } else {
        format!("; blocked by {}", blockers.join(", "))
    }
}
