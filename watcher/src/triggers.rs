//! Triggers: reading a `CloudEvent`, and what is answered.
//!
//! Decides which triggers are refused without a flight; the planner decides what the others change.
//! Never touches the bus.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_common::bus::Delivery;
use signalbox_common::id::ObjectKey;
use signalbox_common::subject;
use signalbox_common::wire::trigger::{Trigger, Verb};

/// Largest reason that is kept.
const MAX_REASON: usize = 1024;
/// Largest image name that is accepted.
const MAX_IMAGE: usize = 1024;

/// A trigger that can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The object.
    pub(crate) key: ObjectKey,
    /// The trigger.
    pub(crate) trigger: Trigger,
}

/// What a trigger's sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The change is made.
    Applied,
    /// There was nothing to change.
    NoOp,
    /// It is not done, and will not be.
    Refused,
}

impl Answer {
    /// The word in answers, records and metrics.
    #[must_use]
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NoOp => "no-op",
            Self::Refused => "refused",
        }
    }

    /// The body of the answer.
    #[must_use]
    pub(crate) fn body(self, trigger: &str, reason: &str) -> Vec<u8> {
        json!({ "trigger": trigger, "result": self.label(), "reason": reason })
            .to_string()
            .into_bytes()
    }
}

/// The attributes and data of a `CloudEvent`, binary or structured.
struct CloudEvent {
    attributes: BTreeMap<String, String>,
    data: Value,
}

/// Where the answer goes, if anywhere: what the bus names, or the attribute `replyto`.
#[must_use]
pub(crate) fn answer_to(delivery: &Delivery) -> Option<String> {
    let named = delivery.reply.clone().filter(|to| is_inbox(to));
    named.or_else(|| reply_to(&delivery.headers, &delivery.body))
}

fn reply_to(headers: &BTreeMap<String, String>, body: &[u8]) -> Option<String> {
    let event = cloud_event(headers, body).ok()?;
    event
        .attributes
        .get("replyto")
        .filter(|to| is_inbox(to))
        .cloned()
}

/// Id of the event, as far as it can be read: for the answer to a refused one.
#[must_use]
pub(crate) fn id_of(headers: &BTreeMap<String, String>, body: &[u8]) -> String {
    let event = cloud_event(headers, body).ok();
    event
        .and_then(|event| event.attributes.get("id").cloned())
        .unwrap_or_default()
}

/// Answers go to inboxes only: a trigger can't make the watcher publish on streams.
fn is_inbox(subject: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-=$".contains(c);
    subject.starts_with("_INBOX") && subject.len() <= 256 && subject.chars().all(plain)
}

/// The trigger of a message.
///
/// # Errors
/// Why it is refused, for the record and the sender.
pub(crate) fn parse(
    subject: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<Parsed, String> {
    let (tenant, key, verb) = subject::parse_trigger(subject).ok_or_else(|| {
        "the subject is not sb.trigger.<tenant>.<kind>.<namespace>.<name>.<verb>".to_owned()
    })?;
    let CloudEvent { attributes, data } = cloud_event(headers, body)?;
    let attribute = |name: &str| {
        let value = attributes.get(name).filter(|value| !value.is_empty());
        value
            .cloned()
            .ok_or_else(|| format!("the CloudEvent has no {name}"))
    };
    let time: Timestamp = attribute("time")?
        .parse()
        .map_err(|error| format!("time is no RFC 3339 time: {error}"))?;
    let text = |field: &str| data.get(field).and_then(Value::as_str);
    let verb = match verb.as_str() {
        "set-image" => {
            let image = text("image").filter(|image| !image.is_empty());
            let image = image.ok_or("set-image needs data.image")?;
            if image.len() > MAX_IMAGE || image.chars().any(char::is_whitespace) {
                return Err("data.image is no image name".to_owned());
            }
            Verb::SetImage {
                image: image.to_owned(),
            }
        }
        "restart" => Verb::Restart,
        other => {
            return Err(format!(
                "the verb {other} is unknown (known: set-image, restart)"
            ));
        }
    };
    let reason = text("reason").map(|reason| reason.chars().take(MAX_REASON).collect());
    let trigger = Trigger {
        id: attribute("id")?,
        source: attribute("source")?,
        time,
        tenant,
        verb,
        reason,
    };
    Ok(Parsed { key, trigger })
}

fn cloud_event(headers: &BTreeMap<String, String>, body: &[u8]) -> Result<CloudEvent, String> {
    let headers: BTreeMap<String, &String> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let data: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))?
    };
    let structured = headers
        .get("content-type")
        .is_some_and(|of| of.starts_with("application/cloudevents+json"));
    if structured || data.get("specversion").is_some() {
        let fields = data.as_object().into_iter().flatten();
        let attributes = fields
            .filter(|(name, _)| *name != "data")
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        let data = data.get("data").cloned().unwrap_or(Value::Null);
        return Ok(CloudEvent { attributes, data });
    }
    let mut attributes = BTreeMap::new();
    for (name, value) in &headers {
        let name = name
            .strip_prefix("ce-")
            .or_else(|| (name == "replyto").then_some(name));
        if let Some(name) = name {
            attributes.insert(name.to_owned(), (*value).clone());
        }
    }
    Ok(CloudEvent { attributes, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use signalbox_common::kinds::Kind;

    fn subject(verb: &str) -> String {
        subject::trigger(
            "ci",
            &ObjectKey::new(Kind::PortfolioApp, "team", "web.v2"),
            verb,
        )
    }

    fn binary() -> BTreeMap<String, String> {
        [
            ("ce-id", "1"),
            ("ce-source", "/ci"),
            ("Ce-Time", "2026-01-01T00:00:00Z"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[test]
    fn binary_and_structured_events_are_the_same() {
        let body = br#"{"image":"web:2","reason":"release"}"#;
        let parsed = parse(&subject("set-image"), &binary(), body).unwrap();
        assert_eq!(parsed.key.name, "web.v2");
        assert_eq!(
            parsed.trigger.verb,
            Verb::SetImage {
                image: "web:2".into()
            }
        );
        let structured = json!({ "specversion": "1.0", "id": "1", "source": "/ci",
            "time": "2026-01-01T00:00:00Z", "replyto": "_INBOX_trigger.ci.x",
            "data": { "image": "web:2", "reason": "release" } });
        let body = structured.to_string().into_bytes();
        assert_eq!(
            parse(&subject("set-image"), &BTreeMap::new(), &body).unwrap(),
            parsed
        );
        assert_eq!(
            reply_to(&BTreeMap::new(), &body).as_deref(),
            Some("_INBOX_trigger.ci.x")
        );
    }

    #[test]
    fn what_can_t_be_used_is_refused_with_a_reason() {
        let refused = |verb: &str, headers: &BTreeMap<String, String>, body: &[u8]| {
            parse(&subject(verb), headers, body).unwrap_err()
        };
        assert!(refused("explode", &binary(), b"").contains("unknown"));
        assert!(refused("set-image", &binary(), b"{}").contains("data.image"));
        assert!(refused("restart", &BTreeMap::new(), b"").contains("no time"));
        assert!(refused("restart", &binary(), b"{").contains("no JSON"));
        assert!(parse("sb.trigger.x", &binary(), b"").is_err());
    }

    #[test]
    fn answers_go_to_inboxes_only() {
        let mut headers = binary();
        for (to, expected) in [
            ("sb.event.x", false),
            ("_INBOX.a b", false),
            ("_INBOX.ab.c", true),
        ] {
            headers.insert("ce-replyto".to_owned(), to.to_owned());
            assert_eq!(reply_to(&headers, b"").is_some(), expected, "{to}");
        }
    }
}
