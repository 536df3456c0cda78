//! Triggers as machines outside send them: `CloudEvents` on the bus, repeated, late, or of the past.
//!
//! Decides the messages; when they come is a matter of the seed.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use signalbox_common::bus::Message;
use signalbox_common::id::ObjectKey;
use signalbox_common::kinds::Kind;
use signalbox_common::record::ANSWER;
use signalbox_common::subject::{self, Stream};

use crate::user::NAMESPACE;

/// What a trigger asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its id.
    pub id: String,
    /// When it was made, in milliseconds.
    pub made_at: u64,
    /// The new image; without one: a restart.
    pub image: Option<String>,
}

/// The message of a trigger for an app; `epoch` is when the run began.
#[must_use]
pub fn message(app: &str, ask: &Ask, epoch: Timestamp) -> Message {
    let key = ObjectKey::new(Kind::PortfolioApp, NAMESPACE, app);
    let (verb, body) = match &ask.image {
        Some(image) => ("set-image", json!({ "image": image })),
        None => ("restart", json!({})),
    };
    let passed = SignedDuration::from_millis(i64::try_from(ask.made_at).unwrap_or(0));
    let time = epoch.saturating_add(passed).unwrap_or(epoch);
    let headers = [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", ask.id.clone()),
        ("ce-source", "/ci".to_owned()),
        ("ce-time", time.to_string()),
        (ANSWER, format!("_INBOX.ci.{app}")),
    ];
    Message {
        stream: Stream::Triggers,
        subject: subject::trigger("ci", &key, verb),
        headers: BTreeMap::from(headers.map(|(name, value)| (name.to_owned(), value))),
        body: body.to_string().into_bytes(),
        msg_id: None,
    }
}
