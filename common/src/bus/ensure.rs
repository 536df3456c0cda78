//! Streams and durable consumers: made and kept as design section 3 says.
//!
//! Never deletes, never purges, and never lowers a limit of a live stream unless told to: a lower limit
//! deletes messages. What it leaves as it is, it reports. Fields it does not own stay as they are.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::BusError;
use super::connection::Failure;
use super::jetstream::JetStreamBus;
pub use super::streams::Storage;
use super::streams::{consumer_config, stream_config};
use crate::json;
use crate::subject::Stream;

/// How streams are made.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct EnsureArgs {
    /// Copies of each stream; 3 on a cluster of servers.
    #[arg(long, env = "SIGNALBOX_BUS_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// Where messages are kept.
    #[arg(long, env = "SIGNALBOX_BUS_STORAGE", value_enum, default_value_t)]
    pub storage: Storage,
    /// Also lower limits of live streams, which deletes what is above them.
    #[arg(long)]
    pub lower_limits: bool,
}

impl Default for EnsureArgs {
    fn default() -> Self {
        Self {
            replicas: 1,
            storage: Storage::default(),
            lower_limits: false,
        }
    }
}

/// What was done, or left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Made.
    Created(String),
    /// A field was brought to what it has to be.
    Updated {
        /// Stream, or stream and consumer.
        what: String,
        /// Field.
        field: String,
    },
    /// A field differs and was left: it can't be changed, or only with a loss.
    Kept {
        /// Stream, or stream and consumer.
        what: String,
        /// Field.
        field: String,
        /// What it is.
        live: String,
        /// What it would have to be.
        wanted: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(what) => write!(f, "{what}: created"),
            Self::Updated { what, field } => write!(f, "{what}: updated {field}"),
            Self::Kept {
                what,
                field,
                live,
                wanted,
            } => {
                write!(f, "{what}: left {field} at {live}, not {wanted}")
            }
        }
    }
}

/// Creates or updates all streams and consumers; an empty answer means that all was well.
pub async fn ensure(bus: &JetStreamBus, args: &EnsureArgs) -> Result<Vec<Change>, BusError> {
    let mut changes = Vec::new();
    for stream in Stream::ALL {
        let name = stream.name();
        let api = Api {
            info: format!("$JS.API.STREAM.INFO.{name}"),
            create: format!("$JS.API.STREAM.CREATE.{name}"),
            update: format!("$JS.API.STREAM.UPDATE.{name}"),
            what: name.to_owned(),
        };
        let wrap = |config: Map<String, Value>| Value::Object(config);
        let config = stream_config(stream, args.storage, args.replicas);
        changes.extend(bring(bus, &api, config, args, wrap).await?);
        let Some(consumer) = stream.consumer() else {
            continue;
        };
        let create = format!("$JS.API.CONSUMER.CREATE.{name}.{consumer}");
        let api = Api {
            info: format!("$JS.API.CONSUMER.INFO.{name}.{consumer}"),
            create: create.clone(),
            update: create,
            what: format!("{name}/{consumer}"),
        };
        let wrap = |config| json!({ "stream_name": name, "config": Value::Object(config) });
        changes.extend(bring(bus, &api, consumer_config(consumer), args, wrap).await?);
    }
    Ok(changes)
}

/// Ensures again every `every`, and whenever the connection is back, until `shutdown`: so a server that was started
/// again has its streams in memory, and a wiped one all of them.
pub async fn keep(
    bus: &JetStreamBus,
    args: &EnsureArgs,
    every: Duration,
    shutdown: CancellationToken,
) {
    let mut told = Vec::new();
    let mut up = bus.connection.up();
    loop {
        up.mark_unchanged();
        match ensure(bus, args).await {
            Ok(changes) if changes == told => {}
            Ok(changes) => {
                for change in &changes {
                    tracing::info!(%change, "bus");
                }
                told = changes;
            }
            Err(error) => tracing::warn!(%error, "failed to ensure the bus"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(every) => {}
            () = back(&mut up) => {}
        }
    }
}

/// Returns when the connection is there again.
async fn back(up: &mut watch::Receiver<bool>) {
    while up.changed().await.is_ok() {
        if *up.borrow_and_update() {
            return;
        }
    }
    std::future::pending::<()>().await;
}

struct Api {
    info: String,
    create: String,
    update: String,
    what: String,
}

async fn bring(
    bus: &JetStreamBus,
    api: &Api,
    wanted: Map<String, Value>,
    args: &EnsureArgs,
    wrap: impl Fn(Map<String, Value>) -> Value,
) -> Result<Vec<Change>, BusError> {
    let Some(live) = read(bus, api).await? else {
        call(bus, api, &api.create, &wrap(wanted)).await?;
        return Ok(vec![Change::Created(api.what.clone())]);
    };
    let (merged, changes) = merge(&api.what, live, wanted, args.lower_limits);
    if changes
        .iter()
        .any(|change| matches!(change, Change::Updated { .. }))
    {
        call(bus, api, &api.update, &wrap(merged)).await?;
    }
    Ok(changes)
}

/// The live configuration; none if there is no such stream or consumer.
async fn read(bus: &JetStreamBus, api: &Api) -> Result<Option<Map<String, Value>>, BusError> {
    let mut answer = match call(bus, api, &api.info, &Value::Null).await {
        Ok(answer) => answer,
        Err(BusError::Missing(_)) => return Ok(None),
        Err(error @ (BusError::Unavailable(..) | BusError::Forbidden(_))) => return Err(error),
    };
    match answer.get_mut("config").map(Value::take) {
        Some(Value::Object(config)) => Ok(Some(config)),
        Some(_) | None => Err(BusError::Unavailable("a configuration", answer.to_string())),
    }
}

async fn call(
    bus: &JetStreamBus,
    api: &Api,
    subject: &str,
    body: &Value,
) -> Result<Value, BusError> {
    let body = if body.is_null() {
        Vec::new()
    } else {
        json::text(body)
    };
    let answer = bus.connection.request(subject, None, body).await;
    let answer = answer.map_err(|failure| match failure {
        // The API itself answers for streams and consumers that do not exist.
        Failure::NoResponders => {
            BusError::Unavailable("JetStream", "the server does not offer it".to_owned())
        }
        other @ (Failure::Refused | Failure::TooLarge | Failure::Silent(_)) => {
            other.into_error("JetStream", &api.what)
        }
    })?;
    let answer: Value = serde_json::from_slice(&answer.payload)
        .map_err(|error| BusError::Unavailable("JetStream", error.to_string()))?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) if error.get("code") == Some(&json!(404)) => {
            Err(BusError::Missing(api.what.clone()))
        }
        Some(error) => Err(BusError::Unavailable(
            "JetStream",
            format!("{}: {error}", api.what),
        )),
    }
}

/// Can't be changed on the server.
const FIXED: [&str; 2] = ["retention", "storage"];
/// Lowering one of these deletes messages.
const LIMITS: [&str; 3] = ["max_msgs", "max_bytes", "max_age"];

fn merge(
    what: &str,
    mut live: Map<String, Value>,
    wanted: Map<String, Value>,
    lower: bool,
) -> (Map<String, Value>, Vec<Change>) {
    let mut changes = Vec::new();
    for (field, wanted) in wanted {
        let is = live.get(&field).unwrap_or(&Value::Null);
        if *is == wanted || is_default(is) && is_default(&wanted) {
            continue;
        }
        let lowered = LIMITS.contains(&field.as_str()) && bound(&wanted) < bound(is);
        if FIXED.contains(&field.as_str()) || lowered && !lower {
            let (live, wanted) = (is.to_string(), wanted.to_string());
            changes.push(Change::Kept {
                what: what.to_owned(),
                field,
                live,
                wanted,
            });
        } else {
            changes.push(Change::Updated {
                what: what.to_owned(),
                field: field.clone(),
            });
            live.insert(field, wanted);
        }
    }
    (live, changes)
}

/// The server leaves defaults out.
fn is_default(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false)) || *value == json!(0) || *value == json!("")
}

/// No limit is the highest one.
fn bound(value: &Value) -> i64 {
    value
        .as_i64()
        .filter(|limit| *limit > 0)
        .unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::streams::object;
    use super::*;

    #[test]
    fn a_limit_is_lowered_only_when_told_to() {
        let wanted = || object(json!({ "max_msgs": 50, "max_bytes": 10, "num_replicas": 3 }));
        let live = || object(json!({ "max_msgs": 80, "max_bytes": -1, "num_replicas": 1, "x": 1 }));
        let (merged, changes) = merge("S", live(), wanted(), false);
        assert_eq!(
            Value::Object(merged),
            json!({ "max_msgs": 80, "max_bytes": -1, "num_replicas": 3, "x": 1 })
        );
        assert_eq!(
            changes
                .iter()
                .filter(|c| matches!(c, Change::Kept { .. }))
                .count(),
            2
        );
        let (merged, _) = merge("S", live(), wanted(), true);
        assert_eq!(merged.get("max_msgs"), Some(&json!(50)));
    }

    #[test]
    fn what_can_not_change_is_left_and_said() {
        let (merged, changes) = merge(
            "S",
            object(json!({ "storage": "file" })),
            object(json!({ "storage": "memory" })),
            true,
        );
        assert_eq!(merged.get("storage"), Some(&json!("file")));
        let change = changes.first().map(ToString::to_string);
        assert_eq!(
            change.as_deref(),
            Some("S: left storage at \"file\", not \"memory\"")
        );
    }

    #[test]
    fn defaults_that_the_server_leaves_out_are_no_change() {
        let wanted = object(json!({ "deny_delete": false, "max_age": 0 }));
        assert_eq!(merge("S", Map::new(), wanted, false).1, []);
    }
}
