//! Databases, as long work reaches them: the one seam between a claimed file and its server.
//!
//! Decides nothing: `PostgreSQL` applies a file as [`super::apply`] says, a simulation has its own.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{AppliedFile, Job, SqlError, apply};

/// Where files are applied.
pub trait Database: Send + Sync + 'static {
    /// Applies a file exactly once: the history row is in its own transaction.
    fn apply<'a>(
        &'a self,
        job: &'a Job,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<AppliedFile, SqlError>>;
}

/// `PostgreSQL` servers, each reached by the URL of its job.
#[derive(Clone, Copy, Debug)]
pub struct Postgres;

impl Database for Postgres {
    fn apply<'a>(
        &'a self,
        job: &'a Job,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<AppliedFile, SqlError>> {
        apply(job, cancel).boxed()
    }
}
