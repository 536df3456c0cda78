//! What the streams say: where flights are, and whether a stream was lost or rewound.
//!
//! Lists in the order in which a flight passes the streams, so that none can be missed. Never publishes.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_common::bus::{BusError, SharedBus, StreamState};
use signalbox_common::id::ObjectKey;
use signalbox_common::subject::{self, Stream};

/// What a look at the streams found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Objects with a message in one of the three.
    pub(crate) found: BTreeSet<ObjectKey>,
    /// State of each.
    pub(crate) states: BTreeMap<Stream, StreamState>,
}

/// Lists the three streams, in their order.
pub(crate) async fn list(bus: SharedBus, cluster: String) -> Result<Listing, BusError> {
    let mut listing = Listing::default();
    for stream in Stream::FLIGHTS {
        listing.states.insert(stream, bus.state(stream).await?);
        let subjects = bus.subjects(stream).await?;
        let keys = subjects
            .keys()
            .filter_map(|subject| subject::parse_flight(subject));
        listing
            .found
            .extend(keys.filter(|(of, _)| *of == cluster).map(|(_, key)| key));
    }
    Ok(listing)
}

/// State of the three streams.
pub(crate) async fn states(bus: SharedBus) -> Result<BTreeMap<Stream, StreamState>, BusError> {
    let mut states = BTreeMap::new();
    for stream in Stream::FLIGHTS {
        states.insert(stream, bus.state(stream).await?);
    }
    Ok(states)
}

/// Whether a stream was made anew or went back since it was seen before.
#[must_use]
pub(crate) fn is_lost(
    before: &BTreeMap<Stream, StreamState>,
    after: &BTreeMap<Stream, StreamState>,
) -> bool {
    after.iter().any(|(stream, after)| {
        before.get(stream).is_some_and(|before| {
            before.created != after.created || after.last_sequence < before.last_sequence
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_new_or_rewound_stream_is_a_loss() {
        let state = |created: i64, last_sequence| StreamState {
            messages: 0,
            first_sequence: 1,
            last_sequence,
            created: Timestamp::from_second(created).unwrap(),
        };
        let of = |state| BTreeMap::from([(Stream::Events, state)]);
        assert!(!is_lost(&BTreeMap::new(), &of(state(1, 5))));
        assert!(!is_lost(&of(state(1, 5)), &of(state(1, 6))));
        assert!(is_lost(&of(state(1, 5)), &of(state(1, 4))));
        assert!(is_lost(&of(state(1, 5)), &of(state(2, 9))));
    }
}
