//! Subjects and streams: the one place that builds and reads them.
//!
//! Names are escaped so that a dot never splits a token. Decides no limits: those stand with the bus.

use crate::id::ObjectKey;
use crate::kinds::Kind;

/// The streams of the bus (design: section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Watcher to planner.
    Events,
    /// Planner to executor.
    Plans,
    /// Planner and executor to watcher.
    Outcomes,
    /// The world to the watcher.
    Triggers,
    /// The record: nothing consumes it.
    Ledger,
    /// What could not be used, with the reason.
    Dead,
}

impl Stream {
    /// All streams, in the order in which a flight passes the first three.
    pub const ALL: [Self; 6] = [
        Self::Events,
        Self::Plans,
        Self::Outcomes,
        Self::Triggers,
        Self::Ledger,
        Self::Dead,
    ];
    /// The streams that hold flights, in the order in which a flight passes them.
    pub const FLIGHTS: [Self; 3] = [Self::Events, Self::Plans, Self::Outcomes];

    /// Name on the server.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "EVENTS",
            Self::Plans => "PLANS",
            Self::Outcomes => "OUTCOMES",
            Self::Triggers => "TRIGGERS",
            Self::Ledger => "LEDGER",
            Self::Dead => "DEAD",
        }
    }

    /// The durable consumer of a work queue; none for records.
    #[must_use]
    pub const fn consumer(self) -> Option<&'static str> {
        match self {
            Self::Events => Some("planner"),
            Self::Plans => Some("executor"),
            Self::Outcomes | Self::Triggers => Some("watcher"),
            Self::Ledger | Self::Dead => None,
        }
    }

    /// The subjects it captures.
    #[must_use]
    pub const fn subjects(self) -> &'static str {
        match self {
            Self::Events => "sb.event.>",
            Self::Plans => "sb.plan.>",
            Self::Outcomes => "sb.outcome.>",
            Self::Triggers => "sb.trigger.>",
            Self::Ledger => "sb.ledger.>",
            Self::Dead => "sb.dead.>",
        }
    }
}

/// `name` as one token of a subject: everything but `[a-z0-9A-Z-]` and `_` becomes `=XX` (hex of the byte).
#[must_use]
pub fn escape(name: &str) -> String {
    use std::fmt::Write as _;
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(token, "={byte:02X}");
        }
    }
    token
}

/// The name that [`escape`] was given; none if `token` is no escaped name.
#[must_use]
pub fn unescape(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'=' {
            let pair = [rest.next()?, rest.next()?];
            let text = std::str::from_utf8(&pair).ok()?;
            bytes.push(u8::from_str_radix(text, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn flight(word: &str, cluster: &str, key: &ObjectKey) -> String {
    format!(
        "sb.{word}.{}.{}.{}.{}",
        escape(cluster),
        key.kind,
        escape(&key.namespace),
        escape(&key.name)
    )
}

/// `sb.event.<c>.<kind>.<namespace>.<name>`
#[must_use]
pub fn event(cluster: &str, key: &ObjectKey) -> String {
    flight("event", cluster, key)
}

/// `sb.plan.<c>.<kind>.<namespace>.<name>`
#[must_use]
pub fn plan(cluster: &str, key: &ObjectKey) -> String {
    flight("plan", cluster, key)
}

/// `sb.outcome.<c>.<kind>.<namespace>.<name>`
#[must_use]
pub fn outcome(cluster: &str, key: &ObjectKey) -> String {
    flight("outcome", cluster, key)
}

/// `sb.ledger.<c>.<type>.<kind>.<namespace>.<name>`
#[must_use]
pub fn ledger(cluster: &str, entry: &str, key: &ObjectKey) -> String {
    format!(
        "sb.ledger.{}.{entry}.{}.{}.{}",
        escape(cluster),
        key.kind,
        escape(&key.namespace),
        escape(&key.name)
    )
}

/// `sb.trigger.<tenant>.<kind>.<namespace>.<name>.<verb>`
#[must_use]
pub fn trigger(tenant: &str, key: &ObjectKey, verb: &str) -> String {
    format!(
        "sb.trigger.{}.{}.{}.{}.{}",
        escape(tenant),
        key.kind,
        escape(&key.namespace),
        escape(&key.name),
        escape(verb)
    )
}

/// `sb.dead.<stream>.<original subject>`
#[must_use]
pub fn dead(stream: Stream, original: &str) -> String {
    format!("sb.dead.{}.{}", stream.name(), original)
}

/// Cluster and key of a flight's subject (event, plan, outcome); none for any other subject.
#[must_use]
pub fn parse_flight(subject: &str) -> Option<(String, ObjectKey)> {
    let mut tokens = subject.split('.');
    let (Some("sb"), Some("event" | "plan" | "outcome")) = (tokens.next(), tokens.next()) else {
        return None;
    };
    let cluster = unescape(tokens.next()?)?;
    let key = parse_key(&mut tokens)?;
    tokens.next().is_none().then_some((cluster, key))
}

/// Tenant, key and verb of a trigger's subject.
#[must_use]
pub fn parse_trigger(subject: &str) -> Option<(String, ObjectKey, String)> {
    let mut tokens = subject.split('.');
    let (Some("sb"), Some("trigger")) = (tokens.next(), tokens.next()) else {
        return None;
    };
    let tenant = unescape(tokens.next()?)?;
    let key = parse_key(&mut tokens)?;
    let verb = unescape(tokens.next()?)?;
    tokens.next().is_none().then_some((tenant, key, verb))
}

/// Cluster, entry type and key of a ledger subject.
#[must_use]
pub fn parse_ledger(subject: &str) -> Option<(String, String, ObjectKey)> {
    let mut tokens = subject.split('.');
    let (Some("sb"), Some("ledger")) = (tokens.next(), tokens.next()) else {
        return None;
    };
    let cluster = unescape(tokens.next()?)?;
    let entry = tokens.next()?.to_owned();
    let key = parse_key(&mut tokens)?;
    tokens.next().is_none().then_some((cluster, entry, key))
}

fn parse_key<'a>(tokens: &mut impl Iterator<Item = &'a str>) -> Option<ObjectKey> {
    let kind = tokens.next()?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    Some(ObjectKey {
        kind,
        namespace: unescape(tokens.next()?)?,
        name: unescape(tokens.next()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_never_splits_a_token() {
        let key = ObjectKey::new(Kind::PortfolioApp, "team-a", "web.v2");
        let subject = event("prod.eu", &key);
        assert_eq!(subject, "sb.event.prod=2Eeu.PortfolioApp.team-a.web=2Ev2");
        assert_eq!(parse_flight(&subject), Some(("prod.eu".to_owned(), key)));
    }

    #[test]
    fn what_is_no_flight_is_none() {
        for subject in [
            "",
            "sb.event",
            "sb.event.c.Nope.n.x",
            "sb.event.c.PortfolioApp.n.x.y",
            "x.y",
        ] {
            assert_eq!(parse_flight(subject), None, "{subject}");
        }
    }

    #[test]
    fn triggers_round_trip() {
        let key = ObjectKey::new(Kind::PortfolioApp, "team-a", "web");
        let subject = trigger("ci", &key, "set-image");
        assert_eq!(
            parse_trigger(&subject),
            Some(("ci".to_owned(), key, "set-image".to_owned()))
        );
    }
}
