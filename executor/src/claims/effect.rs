//! From an effect as data to its work: reads what it names, then does it.
//!
//! Decides whether the content is the one that was planned. The connection URL goes from the Secret
//! into the connection and nowhere else.

use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::Value;
use signalbox_common::class::{Classify as _, ErrorClass};
use signalbox_common::digest;
use signalbox_common::id::StepId;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_common::wire::action::{ClaimStep, Effect, SqlEffect};
use signalbox_crds::claim::ClaimState;
use signalbox_crds::reference::SecretKey;
use tokio_util::sync::CancellationToken;

use super::databases::Databases;
use super::entry::Finished;
use crate::api::Target;
use crate::api::target::is_name;
use crate::context::PlanContext;
use crate::error::ActionError;
use crate::sql::{Author, ConnectionUrl, Database, Job, Limits, SqlError};

/// An effect with everything it needs.
pub(super) enum Work {
    /// A file.
    Sql(Box<Job>),
}

impl Work {
    /// The server that it needs.
    pub(super) fn address(&self) -> &str {
        match self {
            Self::Sql(job) => job.url.address(),
        }
    }
}

/// Reads what the effect names.
pub(super) async fn prepare(
    ctx: &PlanContext,
    step: &ClaimStep,
    id: StepId,
) -> Result<Work, ActionError> {
    match &step.effect {
        Effect::Sql(effect) => {
            let sql = file(ctx, effect).await?;
            verify(effect, &sql)?;
            let job = Job {
                url: url(ctx, &effect.url_from).await?,
                history_schema: effect.history_schema.clone(),
                file: effect.file.name.clone(),
                version: effect.version.clone(),
                sha256: effect.file.sha256.clone(),
                sql,
                limits: Limits {
                    lock: seconds(effect.lock_seconds),
                    statement: seconds(effect.statement_seconds),
                    history_lock: seconds(effect.history_lock_seconds),
                },
                author: Author {
                    executor: ctx.instance.clone(),
                    namespace: ctx.key.namespace.clone(),
                    name: ctx.key.name.clone(),
                    uid: ctx.uid.clone(),
                    step_id: id,
                    attempt: step.attempt,
                    reconcile_id: ctx.reconcile_id,
                },
            };
            Ok(Work::Sql(Box::new(job)))
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

/// The file's text: from the migration itself, or from its `ConfigMap`.
async fn file(ctx: &PlanContext, effect: &SqlEffect) -> Result<String, ActionError> {
    let namespace = &ctx.key.namespace;
    let name = &effect.file.name;
    if let Some(map) = &effect.config_map {
        let target = Target::child(ChildKind::ConfigMap, namespace, checked(map)?);
        let live = ctx.api.get(&target).await?;
        let live = live.ok_or_else(|| missing(format!("ConfigMap {map} does not exist")))?;
        let text = live
            .get("data")
            .and_then(|data| data.get(name))
            .and_then(Value::as_str);
        let text = text.ok_or_else(|| missing(format!("ConfigMap {map} has no {name}")))?;
        return Ok(text.to_owned());
    }
    let target = Target::object(Kind::DatabaseMigration, namespace, &ctx.key.name);
    let live = ctx.api.get(&target).await?;
    let live = live.filter(|live| crate::conflict::uid_of(live) == ctx.uid);
    let live = live.ok_or_else(|| ActionError::conflict("the migration is gone"))?;
    inline(&live, name).ok_or_else(|| changed(name).with_live(crate::conflict::trimmed(&live)))
}

fn inline(live: &Value, name: &str) -> Option<String> {
    let files = live.pointer("/spec/files")?.as_array()?;
    let file = files
        .iter()
        .find(|file| file.get("name").and_then(Value::as_str) == Some(name))?;
    file.get("sql")?.as_str().map(str::to_owned)
}

/// Only the content that was planned is run; another one is planned anew.
fn verify(effect: &SqlEffect, sql: &str) -> Result<(), ActionError> {
    let same = i64::try_from(sql.len()).is_ok_and(|size| size == effect.file.size)
        && digest::sha256_hex(sql.as_bytes()) == effect.file.sha256;
    if same {
        Ok(())
    } else {
        Err(changed(&effect.file.name))
    }
}

/// The connection URL. An error names Secret and key, never what stands there.
async fn url(ctx: &PlanContext, from: &SecretKey) -> Result<ConnectionUrl, ActionError> {
    let SecretKey { name, key } = from;
    let target = Target::secret(&ctx.key.namespace, checked(name)?);
    let live = ctx.api.get(&target).await?;
    let live = live.ok_or_else(|| missing(format!("Secret {name} does not exist")))?;
    let value = live.get("data").and_then(|data| data.get(key));
    let value = value.ok_or_else(|| missing(format!("Secret {name} has no key {key}")))?;
    let bytes = serde_json::from_value::<ByteString>(value.clone()).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes.0).ok());
    let text = text.ok_or_else(|| missing(format!("Secret {name}, key {key}: no text")))?;
    // Nobody watches Secrets, so time must heal it, as if the URL were missing.
    ConnectionUrl::parse(&text).map_err(|err| missing(format!("Secret {name}, key {key}: {err}")))
}

fn checked(name: &str) -> Result<&str, ActionError> {
    if is_name(name) {
        Ok(name)
    } else {
        Err(ActionError::new(
            ErrorClass::Invalid,
            format!("{name:?} is no name of an object"),
        ))
    }
}

fn missing(message: String) -> ActionError {
    ActionError::new(ErrorClass::Missing, message)
}

fn changed(name: &str) -> ActionError {
    ActionError::conflict(format!(
        "content changed: {name} is not the file that was planned"
    ))
}

/// Where the work is done.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) database: &'a dyn Database,
    /// Told whether the database could be reached.
    pub(super) breakers: &'a Databases,
}

/// Does the work.
pub(super) async fn run(work: &Work, at: At<'_>, cancel: &CancellationToken) -> Finished {
    let ended = match work {
        Work::Sql(job) => at.database.apply(job, cancel).await,
    };
    let unreachable = matches!(&ended, Err(SqlError::Connect(report)) if report.is_lost());
    if !matches!(ended, Err(SqlError::Cancelled)) {
        at.breakers.report(work.address(), !unreachable);
    }
    match ended {
        Ok(applied) => Finished {
            state: ClaimState::Succeeded,
            class: None,
            message: None,
            effect_ms: i64::try_from(applied.took.as_millis()).ok(),
            found_done: applied.found_done,
        },
        Err(SqlError::Cancelled) => Finished::cancelled("cancelled; nothing was applied"),
        Err(err) => Finished::failed(err.class(), &err.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use signalbox_crds::migration::{FileDigest, Phase};

    fn effect(sql: &str) -> SqlEffect {
        SqlEffect {
            url_from: SecretKey {
                name: "db".to_owned(),
                key: "url".to_owned(),
            },
            history_schema: "signalbox".to_owned(),
            file: FileDigest {
                name: "V1__a.sql".to_owned(),
                size: i64::try_from(sql.len()).unwrap(),
                sha256: digest::sha256_hex(sql.as_bytes()),
            },
            version: "1".to_owned(),
            phase: Phase::Expand,
            config_map: None,
            lock_seconds: 2,
            statement_seconds: 900,
            history_lock_seconds: 30,
        }
    }

    #[test]
    fn only_the_planned_content_is_run() {
        assert!(verify(&effect("select 1"), "select 1").is_ok());
        let err = verify(&effect("select 1"), "select 2").unwrap_err();
        assert_eq!(err.class(), ErrorClass::Conflict);
    }

    #[test]
    fn an_inline_file_is_found_by_name() {
        let live =
            json!({ "spec": { "files": [{ "name": "a" }, { "name": "b", "sql": "select 1" }] } });
        assert_eq!(inline(&live, "b").as_deref(), Some("select 1"));
        assert_eq!(inline(&live, "a"), None);
    }
}
