//! Where the time of one change goes, for an operator with a ledger: its entries beside the API server's audit log.
//!
//! All clocks are one machine's. Decides where a span begins and ends; never what it should cost.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;
use signalbox_cli::connect::BusArgs;
use signalbox_cli::ledger::{self, Entry, Query};

use crate::field::{Field, app_of};

/// The spans of a change, in their order.
pub(crate) const SPANS: [&str; 8] = [
    "answer to the change → Observation made (watch event, queue)",
    "→ Plan made (sign, EVENTS, check, plan)",
    "→ Event and Plan recorded (LEDGER)",
    "→ child's request (sign, PLANS, check)",
    "→ child's answer (API server)",
    "→ status' request",
    "→ status' answer (API server)",
    "→ Outcome made",
];

/// What happened when, in milliseconds since the epoch.
#[derive(Default)]
struct Moments {
    at: [Option<f64>; 9],
}

impl Moments {
    /// The first that is told counts: a later one is of a later flight.
    fn tell(&mut self, place: usize, at: Option<f64>) {
        if let Some(moment) = self.at.get_mut(place)
            && moment.is_none()
        {
            *moment = at;
        }
    }

    fn spans(&self) -> Option<Vec<f64>> {
        let at: Option<Vec<f64>> = self.at.iter().copied().collect();
        let at = at?;
        Some(at.windows(2).map(|pair| pair[1] - pair[0]).collect())
    }
}

/// Milliseconds of each span, for each change since a mark that is told from its beginning to its end.
pub(crate) async fn of(field: &Field, mark: usize, since: Timestamp) -> Vec<Vec<f64>> {
    let mut moments = BTreeMap::<String, Moments>::new();
    for entry in field.audit.entries_since(mark) {
        request(&mut moments, &entry);
    }
    let bus = BusArgs {
        nats_url: field.world.cluster.nats_url().expect("a world has a bus"),
        nkey_file: Some(field.world.seed("reader")),
        cluster: field.world.common_args("reader").cluster,
    };
    let query = Query {
        object: None,
        since: Some(since),
    };
    for entry in ledger::read(&bus, &query).await.expect("a ledger") {
        recorded(&mut moments, &entry);
    }
    moments.values().filter_map(Moments::spans).collect()
}

fn request(moments: &mut BTreeMap<String, Moments>, entry: &Value) {
    let about = &entry["objectRef"];
    let object = about["name"].as_str().unwrap_or_default();
    let app = app_of(object).to_owned();
    if !matches!(entry["verb"].as_str(), Some("patch" | "update")) {
        return;
    }
    let time = |field: &str| {
        entry[field]
            .as_str()
            .and_then(|text| text.parse().ok())
            .map(millis)
    };
    let (received, answered) = (time("requestReceivedTimestamp"), time("stageTimestamp"));
    let moments = moments.entry(app).or_default();
    match (about["resource"].as_str(), about["subresource"].as_str()) {
        (Some("portfolioapps"), None) => moments.tell(0, answered),
        (Some("portfolioapps"), Some("status")) => {
            moments.tell(6, received);
            moments.tell(7, answered);
        }
        (Some("deployments"), _) => {
            moments.tell(4, received);
            moments.tell(5, answered);
        }
        _ => {}
    }
}

fn recorded(moments: &mut BTreeMap<String, Moments>, entry: &Entry) {
    // The flights behind the change's own, such as that of its child's event, have no first request.
    let moments = moments.entry(entry.key.name.clone()).or_default();
    let made = entry
        .headers
        .get("ce-time")
        .and_then(|text| text.parse().ok())
        .map(millis);
    match entry.entry.as_str() {
        "event" => {
            let body = entry.json();
            let observed = body
                .pointer("/observation/observedAt")
                .and_then(Value::as_str);
            moments.tell(1, observed.and_then(|text| text.parse().ok()).map(millis));
        }
        "plan" => {
            moments.tell(2, made);
            moments.tell(3, Some(millis(entry.stored_at)));
        }
        "outcome" => moments.tell(8, made),
        _ => {}
    }
}

fn millis(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_told_whole_has_spans() {
        let mut moments = Moments::default();
        for place in 0..9 {
            moments.tell(place, Some(place as f64 * 2.0));
            moments.tell(place, Some(99.0));
        }
        assert_eq!(moments.spans(), Some(vec![2.0; SPANS.len()]));
        assert_eq!(Moments::default().spans(), None);
    }
}
