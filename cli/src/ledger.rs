//! Reading LEDGER: entries in their order, from an ordered ephemeral consumer.
//!
//! Decides which entries are asked for; never acknowledges, writes or consumes anything.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use signalbox_common::bus::rights::Role;
use signalbox_common::id::ObjectKey;
use signalbox_common::record::RECONCILE_ID;
use signalbox_common::subject::{self, Stream};
use signalbox_common::wire::planned::{self, PLANNED};

use crate::connect::BusArgs;
use crate::error::CliError;

/// Silence after which the last entry is taken to be missing from the server's count.
const SILENCE: Duration = Duration::from_secs(5);

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Type: `event`, `plan`, `outcome`, `settled`, `claim`, `start`, `result`. What is stored as `planned` is
    /// read as an `event` and a `plan` of the same place.
    pub entry: String,
    /// The object.
    pub key: ObjectKey,
    /// Place in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Entry {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The flight that it belongs to.
    #[must_use]
    pub fn reconcile_id(&self) -> Option<String> {
        if let Some(id) = self.headers.get(RECONCILE_ID) {
            return Some(id.clone());
        }
        let body = self.json();
        ["/reconcileId", "/observation/reconcileId"]
            .into_iter()
            .find_map(|pointer| body.pointer(pointer)?.as_str().map(str::to_owned))
    }
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Only of this object.
    pub object: Option<ObjectKey>,
    /// Only those stored since then.
    pub since: Option<Timestamp>,
}

impl Query {
    fn filter(&self, cluster: &str) -> String {
        let cluster = subject::escape(cluster);
        match &self.object {
            Some(key) => format!(
                "sb.ledger.{cluster}.*.{}.{}.{}",
                key.kind,
                subject::escape(&key.namespace),
                subject::escape(&key.name)
            ),
            None => format!("sb.ledger.{cluster}.>"),
        }
    }

    fn start(&self) -> Result<DeliverPolicy, CliError> {
        let Some(since) = self.since else {
            return Ok(DeliverPolicy::All);
        };
        let start_time = async_nats::datetime::from_nanos(since.as_nanosecond())
            .map_err(|error| CliError::Usage(format!("--since: {error}")))?;
        Ok(DeliverPolicy::ByStartTime { start_time })
    }
}

/// All entries that match, in the order in which they were stored.
pub async fn read(bus: &BusArgs, query: &Query) -> Result<Vec<Entry>, CliError> {
    let failed = |act: &'static str| {
        let url = bus.nats_url.clone();
        move |reason: String| CliError::Nats { act, url, reason }
    };
    let client = bus.connect(&Role::Reader).await?;
    let context = jetstream::new(client);
    let ledger: stream::Stream = context
        .get_stream(Stream::Ledger.name())
        .await
        .map_err(|error| failed("open LEDGER")(error.to_string()))?;
    let config = OrderedConfig {
        filter_subject: query.filter(&bus.cluster),
        deliver_policy: query.start()?,
        ..OrderedConfig::default()
    };
    let mut consumer = ledger
        .create_consumer(config)
        .await
        .map_err(|error| failed("read LEDGER")(error.to_string()))?;
    let pending = consumer
        .info()
        .await
        .map_err(|error| failed("read LEDGER")(error.to_string()))?
        .num_pending;
    if pending == 0 {
        return Ok(Vec::new());
    }
    let mut messages = consumer
        .messages()
        .await
        .map_err(|error| failed("read LEDGER")(error.to_string()))?;
    let mut entries = Vec::new();
    loop {
        let next = tokio::time::timeout(SILENCE, messages.next()).await;
        let Ok(Some(message)) = next else {
            return Err(failed("read LEDGER to its end")(format!(
                "silence after {} of {pending} entries",
                entries.len()
            )));
        };
        let message = message.map_err(|error| failed("read LEDGER")(error.to_string()))?;
        let left = message
            .info()
            .map_err(|error| failed("read LEDGER")(error.to_string()))?
            .pending;
        entries.extend(entry(&message).into_iter().flat_map(apart));
        if left == 0 {
            return Ok(entries);
        }
    }
}

fn entry(message: &jetstream::Message) -> Option<Entry> {
    let (_, entry, key) = subject::parse_ledger(message.subject.as_str())?;
    let info = message.info().ok()?;
    let headers = message.headers.iter().flat_map(|headers| headers.iter());
    Some(Entry {
        entry,
        key,
        sequence: info.stream_sequence,
        stored_at: Timestamp::from_nanosecond(info.published.unix_timestamp_nanos()).ok()?,
        headers: headers
            .filter_map(|(name, values)| {
                Some((name.to_string(), values.first()?.as_str().to_owned()))
            })
            .collect(),
        body: message.payload.to_vec(),
    })
}

/// Event and Plan that are stored as one, as two; any other entry as it is.
fn apart(entry: Entry) -> Vec<Entry> {
    if entry.entry != PLANNED {
        return vec![entry];
    }
    let Some((event, plan)) = planned::split(&entry.body) else {
        return vec![entry];
    };
    [("event", event), ("plan", plan)]
        .map(|(word, body)| Entry {
            entry: word.to_owned(),
            key: entry.key.clone(),
            headers: entry.headers.clone(),
            body: body.to_vec(),
            ..entry
        })
        .into()
}
