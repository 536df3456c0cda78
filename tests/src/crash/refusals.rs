//! Points of refusals and lost answers: every way in which a server may refuse, at every effect.

use signalbox_proxy::{Fault, Loss, Rejection};

use super::flow::Flow;
use super::points::{Effects, Point, at_effects};

/// HTTP statuses that a write may be refused with.
const STATUSES: [(u16, Option<u64>); 6] = [
    (403, None),
    (409, None),
    (422, None),
    (429, Some(1)),
    (500, None),
    (503, None),
];
/// A session that ends by command, a serialization failure, a lock that is not to be had, a missing right.
const STATES: [&str; 4] = ["57P01", "40001", "55P03", "42501"];
/// Too many connections.
const CROWDED: &str = "53300";

/// The points of a flow.
#[must_use]
pub fn refusals(flow: Flow, runs: &[Effects]) -> Vec<Point> {
    at_effects(flow, runs, at)
}

/// All faults of an effect but death.
fn at(step: &str) -> Vec<Fault> {
    let lost = [Fault::Lose(Loss::Timeout), Fault::Lose(Loss::Reset)];
    let reject = |all: &[Rejection]| all.iter().copied().map(Fault::Reject).collect::<Vec<_>>();
    let mut words = step.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("api"), _, _) => {
            let refused = STATUSES.map(|(code, retry_after)| Fault::Refuse { code, retry_after });
            [&refused[..], &lost].concat()
        }
        // The record takes whatever comes and lets the oldest go.
        (Some("bus"), Some("publish"), Some(subject)) if subject.starts_with("sb.ledger.") => {
            let few = [
                Rejection::NoStore,
                Rejection::NoResponders,
                Rejection::Permission,
            ];
            [&reject(&few)[..], &lost, &[Fault::Drop]].concat()
        }
        (Some("bus"), Some("publish"), _) => {
            [&reject(&Rejection::ALL)[..], &lost, &[Fault::Drop]].concat()
        }
        (Some("bus"), _, _) => {
            let few = [Rejection::NoResponders, Rejection::Permission];
            [&reject(&few)[..], &lost, &[Fault::Drop]].concat()
        }
        (Some("sql"), _, Some("CONNECT")) => {
            vec![Fault::Raise(CROWDED.to_owned()), Fault::Cut, Fault::Drop]
        }
        (Some("sql"), _, _) => {
            let raised = STATES.map(|state| Fault::Raise(state.to_owned()));
            [&raised[..], &[Fault::Lose(Loss::Reset), Fault::Drop]].concat()
        }
        (_, _, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_refuses_in_its_own_words() {
        let count = |step: &str| at(step).len();
        assert_eq!(count("api apply services $ns/$app"), 8);
        assert_eq!(count("bus publish sb.plan.suite.PortfolioApp.$ns.$app"), 8);
        assert_eq!(
            count("bus publish sb.ledger.suite.planned.PortfolioApp.$ns.$app"),
            6
        );
        assert_eq!(count("bus ack sb.plan.suite.PortfolioApp.$ns.$app"), 5);
        assert_eq!(count("sql $db CONNECT"), 3);
        assert_eq!(count("sql $db COMMIT"), 6);
        assert!(!at("sql $db COMMIT").contains(&Fault::Raise(CROWDED.to_owned())));
    }
}
