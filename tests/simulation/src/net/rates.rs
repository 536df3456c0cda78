//! How often what goes wrong: the rates of a run, and what they make of a request.
//!
//! Decides by chance alone; a planned crash is [`super::Net`]'s.

use std::time::Duration;

use super::doing::{Doing, Passage, Side};
use crate::api::Refusal;
use crate::random::Random;

/// How often what goes wrong, in a thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// The API server refuses: 409, 429, 500, 503.
    pub refused: u64,
    /// A request does not arrive.
    pub reset: u64,
    /// The effect happened, the answer is lost.
    pub answer_lost: u64,
    /// The effect happened, the answer comes too late.
    pub stalled: u64,
    /// A watch is cut, held or told that its version is gone, each time it has news.
    pub watch: u64,
    /// A message is refused, or stored without an answer.
    pub bus: u64,
    /// What was fetched is lost on its way.
    pub fetch: u64,
    /// What was fetched comes in another order.
    pub reorder: u64,
    /// A statement of a migration waits too long for a lock, or the server ends its session.
    pub sql: u64,
    /// A part is killed at a request: before it, after its effect, after its answer.
    pub crash: u64,
    /// Longest delay each way, in milliseconds.
    pub delay: u64,
}

impl Rates {
    pub(super) fn delay(&self, random: &mut Random) -> Duration {
        Duration::from_millis(random.between(1, self.delay.max(1)))
    }

    /// Whether the answer is lost, or comes too late.
    pub(super) fn fate(&self, passage: &mut Passage, random: &mut Random) {
        let (lost, stalled) = match passage.doing.side {
            Side::Api => (self.answer_lost, self.stalled),
            Side::Bus | Side::Database => (self.bus / 2, 0),
        };
        passage.lost = lost > 0 && random.in_thousand(lost);
        passage.stalled = stalled > 0 && random.in_thousand(stalled);
    }

    /// What a server refuses, and whether the request arrives at all.
    pub(super) fn refusal(&self, doing: &Doing, random: &mut Random) -> (Option<Refusal>, bool) {
        let (refused, reset) = match doing.side {
            Side::Api => (self.refused, self.reset),
            Side::Bus | Side::Database => (0, self.bus / 2),
        };
        if reset > 0 && random.in_thousand(reset) {
            return (None, true);
        }
        if refused == 0 || !random.in_thousand(refused) {
            return (None, false);
        }
        // A conflict out of nothing: another write was there first, and was undone.
        let codes: &[u16] = if doing.effect {
            &[409, 429, 500, 503]
        } else {
            &[429, 500, 503]
        };
        let code = random.one_of(codes).copied().unwrap_or(500);
        let mut refusal = Refusal::new(code, "a fault of the simulation");
        if code == 429 {
            refusal.retry_after = Some(random.between(1, 3));
        }
        (Some(refusal), false)
    }
}
