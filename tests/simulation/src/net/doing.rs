//! What a part does to a server, on its way there and back.
//!
//! Data alone; what becomes of it is decided in [`super::Net`].

use std::time::Duration;

use crate::api::Refusal;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The API server.
    Api,
    /// The bus.
    Bus,
    /// The database.
    Database,
}

/// Where in a request a part is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before it arrives.
    Before,
    /// After its effect, before its answer.
    Effect,
    /// After its answer.
    Answer,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Before, Self::Effect, Self::Answer];
}

/// What a part does.
#[derive(Clone, Debug)]
pub struct Doing {
    pub(super) side: Side,
    /// For the trace; empty where nobody reads it.
    pub(super) what: String,
    /// Whether it has an effect: a crash point.
    pub(super) effect: bool,
}

/// What becomes of a request.
pub enum Verdict {
    /// It arrives.
    Pass(Passage),
    /// The server refuses.
    Refuse(Refusal),
    /// It does not arrive.
    Reset,
}

/// A request that has arrived.
pub struct Passage {
    pub(super) doing: Doing,
    pub(super) index: u64,
    pub(super) crash: Option<Stage>,
    pub(super) lost: bool,
    pub(super) stalled: bool,
}

/// The answer is lost.
#[derive(Debug)]
pub struct Lost;

/// A crash point: something with an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The part's role.
    pub role: String,
    /// What it does.
    pub what: String,
    /// When.
    pub at: Duration,
}
