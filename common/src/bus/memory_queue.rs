//! One stream in memory: what is stored, refused, delivered and due again.
//!
//! Pure: time comes in. Knows the bounds of design section 3 as the real server does.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use tokio::time::Instant;

use super::limits::{
    BACKLOG_LIMIT, DEAD_BYTES, LEDGER_BYTES, LEDGER_DUPLICATES, MAX_MESSAGE, PER_SUBJECT_LIMIT,
};
use super::{Message, PublishError, StreamState};
use crate::clock;
use crate::subject::Stream;

pub(super) struct Queue {
    created: Timestamp,
    incarnation: u64,
    last: u64,
    stored: BTreeMap<u64, Stored>,
    /// Size of all bodies.
    bytes: usize,
    /// Message ids of LEDGER with their sequence and the end of their window.
    ids: BTreeMap<String, (u64, Instant)>,
    /// The ends of these windows, in order; of ids that may have another one by now.
    ends: VecDeque<(Instant, String)>,
}

struct Stored {
    message: Message,
    delivered: u64,
    /// In flight until then.
    due: Option<Instant>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            created: clock::now(),
            incarnation: 0,
            last: 0,
            stored: BTreeMap::new(),
            bytes: 0,
            ids: BTreeMap::new(),
            ends: VecDeque::new(),
        }
    }
}

impl Queue {
    pub(super) fn store(&mut self, message: Message, now: Instant) -> Result<u64, PublishError> {
        let stream = message.stream;
        check(&message)?;
        if let Some(id) = &message.msg_id {
            self.forget_ids(now);
            if let Some((sequence, _)) = self.ids.get(id) {
                return Ok(*sequence);
            }
        }
        if stream.consumer().is_some() {
            let same = self
                .stored
                .values()
                .filter(|old| old.message.subject == message.subject);
            if same.count() >= PER_SUBJECT_LIMIT {
                return Err(PublishError::Occupied(message.subject));
            }
            if self.stored.len() >= BACKLOG_LIMIT {
                return Err(PublishError::Full(stream.name()));
            }
        }
        self.last += 1;
        if let Some(id) = message.msg_id.clone() {
            let end = now + LEDGER_DUPLICATES;
            self.ends.push_back((end, id.clone()));
            self.ids.insert(id, (self.last, end));
        }
        self.bytes += message.body.len();
        self.stored.insert(
            self.last,
            Stored {
                message,
                delivered: 0,
                due: None,
            },
        );
        self.discard_old(stream);
        Ok(self.last)
    }

    fn forget_ids(&mut self, now: Instant) {
        while let Some((_, id)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            if self.ids.get(&id).is_some_and(|(_, end)| *end <= now) {
                self.ids.remove(&id);
            }
        }
    }

    /// Keeps what is wanted.
    fn retain(&mut self, wanted: impl Fn(u64, &Message) -> bool) {
        self.stored
            .retain(|sequence, old| wanted(*sequence, &old.message));
        let bodies = self.stored.values().map(|old| old.message.body.len());
        self.bytes = bodies.sum();
    }

    fn discard_old(&mut self, stream: Stream) {
        let limit = match stream {
            Stream::Ledger => LEDGER_BYTES,
            Stream::Dead => DEAD_BYTES,
            Stream::Events | Stream::Plans | Stream::Outcomes | Stream::Triggers => return,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        while self.bytes > limit
            && let Some((_, old)) = self.stored.pop_first()
        {
            self.bytes -= old.message.body.len();
        }
    }

    /// Delivers what is due, in order of sequence: sequence, number of deliveries, message.
    pub(super) fn take(
        &mut self,
        max: usize,
        now: Instant,
        due: Instant,
    ) -> Vec<(u64, u64, Message)> {
        let ready = self
            .stored
            .iter_mut()
            .filter(|(_, old)| old.due.is_none_or(|due| due <= now));
        let deliver = |(sequence, old): (&u64, &mut Stored)| {
            old.delivered += 1;
            old.due = Some(due);
            (*sequence, old.delivered, old.message.clone())
        };
        ready.take(max).map(deliver).collect()
    }

    /// When the next message in flight comes again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.stored.values().filter_map(|old| old.due).min()
    }

    pub(super) fn ack(&mut self, sequence: u64) {
        if let Some(old) = self.stored.remove(&sequence) {
            self.bytes -= old.message.body.len();
        }
    }

    pub(super) fn set_due(&mut self, sequence: u64, due: Option<Instant>) {
        if let Some(old) = self.stored.get_mut(&sequence) {
            old.due = due;
        }
    }

    pub(super) fn wipe(&mut self) {
        let incarnation = self.incarnation + 1;
        *self = Self {
            incarnation,
            ..Self::default()
        };
    }

    pub(super) fn rewind(&mut self, sequence: u64) {
        self.retain(|known, _| known <= sequence);
        self.ids.retain(|_, (known, _)| *known <= sequence);
        self.last = self.last.min(sequence);
        self.incarnation += 1;
    }

    pub(super) fn lose(&mut self, subject: &str) {
        self.retain(|_, message| message.subject != subject);
    }

    pub(super) fn count(&self) -> usize {
        self.stored.len()
    }

    pub(super) const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    pub(super) fn subjects(&self) -> BTreeMap<String, u64> {
        let mut subjects = BTreeMap::new();
        for old in self.stored.values() {
            *subjects.entry(old.message.subject.clone()).or_insert(0) += 1;
        }
        subjects
    }

    pub(super) fn messages(&self, stream: Stream) -> Vec<Message> {
        let all = self.stored.values().map(|old| old.message.clone());
        all.filter(|message| message.stream == stream).collect()
    }

    pub(super) fn state(&self) -> StreamState {
        StreamState {
            messages: u64::try_from(self.stored.len()).unwrap_or(u64::MAX),
            first_sequence: self.stored.keys().next().copied().unwrap_or(self.last + 1),
            last_sequence: self.last,
            created: self.created,
        }
    }
}

/// What both implementations refuse before anything is sent.
pub(super) fn check(message: &Message) -> Result<(), PublishError> {
    if message.body.len() > MAX_MESSAGE {
        let bytes = message.body.len();
        return Err(PublishError::TooLarge {
            subject: message.subject.clone(),
            bytes,
        });
    }
    let prefix = message.stream.subjects().trim_end_matches('>');
    if !message.subject.starts_with(prefix) {
        let why = format!("{} does not take this subject", message.stream.name());
        return Err(PublishError::Unknown(message.subject.clone(), why));
    }
    Ok(())
}
