//! Faults: what is done with a step.
//!
//! Decides nothing else; whoever serves a protocol knows how a fault is made there, and passes on what a
//! fault of another protocol names.

use serde::{Deserialize, Serialize};

/// What is done with a step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// SIGKILL for the part.
    Kill(Place),
    /// The step takes effect, its answer is lost.
    Lose(Loss),
    /// It is refused with an HTTP status and takes no effect. API requests only.
    #[serde(rename_all = "camelCase")]
    Refuse {
        /// HTTP status.
        code: u16,
        /// Seconds of `Retry-After`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// It is passed on later.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// It is never passed on: a request is not answered, a message or a watch event does not come.
    Drop,
    /// It is passed on twice.
    Duplicate,
    /// The connection is cut before it.
    Cut,
    /// SIGSTOP for the part; the step is held until it is resumed, and is then passed on. API requests only.
    Pause,
    /// It is refused and not stored. Publishes, acks and fetches of the bus only.
    Reject(Rejection),
    /// The database answers with this SQLSTATE in its place. SQL only.
    Raise(String),
    /// From this watch event on, nothing of its object comes until the event that reads so: the states
    /// between are never seen. Watch events only.
    #[serde(rename_all = "camelCase")]
    Hold {
        /// The event as traces write it.
        until: String,
        /// At least the how manieth that reads so.
        #[serde(default)]
        nth: u32,
        /// The newest state comes after this many milliseconds at the latest, if it was not seen before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_most_ms: Option<u64>,
    },
    /// The state at this watch event is remembered. When a later event has come, the part is led back to
    /// it: lists and watches are answered from the past, for a time. Watch events only.
    Past(Past),
    /// The watch ends as one whose version is too old (410). Watch events only.
    Gone,
}

/// Where the part dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Place {
    /// Before the server sees the step.
    Before,
    /// The step took effect; the part has no answer yet.
    Answer,
    /// The part has the answer, and sends nothing more.
    After,
}

impl Place {
    /// All places.
    pub const ALL: [Self; 3] = [Self::Before, Self::Answer, Self::After];
}

/// How an answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// The connection is cut.
    Reset,
    /// A gateway gives up: 504. On the bus no answer comes.
    Timeout,
}

/// How the bus refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rejection {
    /// The stream holds as many messages as it may.
    Full,
    /// The stream holds a message of this subject.
    Occupied,
    /// The server has no room to store it.
    NoStore,
    /// Nobody serves the subject: no stream, or no leader.
    NoResponders,
    /// The identity may not publish there.
    Permission,
}

impl Rejection {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::Occupied,
        Self::NoStore,
        Self::NoResponders,
        Self::Permission,
    ];
}

/// A way back into the past.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The event as traces write it at which the past begins to be shown; the part has seen it.
    pub until: String,
    /// At least the how manieth that reads so.
    pub nth: u32,
    /// How the part gets there.
    pub by: Return,
    /// For how long the past is shown, in milliseconds; then the view goes on to what is.
    pub ms: u64,
}

/// How a part gets back into the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Return {
    /// It is killed; its next process reads everything from an API server that is behind, which then
    /// catches up.
    Restart,
    /// The watch ends as too old (410) and is begun anew on a cache of this kind that is behind; it ends
    /// so once more when the past does.
    Cut,
}
