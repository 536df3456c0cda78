//! What every bus has to do: one suite for both implementations.
//!
//! A part relies on nothing that is not checked here. Cases use objects of their own and leave the work
//! queues empty; they wait by fetching, never by sleeping.

mod fetches;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::limits::{ACK_WAIT, BACKLOG_LIMIT, MAX_MESSAGE};
use super::{BusError, Delivery, Message, PublishError, SharedBus};
use crate::subject::Stream;

/// A bus under test: fresh, or left by another case.
pub trait Fixture: Send + Sync {
    /// The bus.
    fn bus(&self) -> &SharedBus;
    /// Loses a stream and makes it anew, empty.
    fn lose(&self, stream: Stream) -> BoxFuture<'_, Result<(), BusError>>;
}

/// A promise that was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Something else was expected.
    #[error("{0}")]
    Other(String),
    /// A publish failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// One case.
pub type Case = for<'a> fn(&'a dyn Fixture) -> BoxFuture<'a, Result<(), Broken>>;

/// All cases with their names.
pub const CASES: [(&str, Case); 15] = [
    ("a stream holds fifty", |f| fifty(f).boxed()),
    ("a subject holds one", |f| one_per_subject(f).boxed()),
    ("a fetch takes no more than asked", |f| {
        fetches::no_more_than_asked(f).boxed()
    }),
    ("a fetch waits for the first", |f| {
        fetches::waits_for_the_first(f).boxed()
    }),
    ("who leaves gives back", |f| fetches::who_leaves(f).boxed()),
    ("a dropped fetch loses nothing", |f| {
        fetches::dropped_fetch(f).boxed()
    }),
    ("an unacknowledged message comes again", |f| {
        comes_again(f).boxed()
    }),
    ("a held message does not come again", |f| held(f).boxed()),
    ("a message given back comes at once", |f| {
        given_back(f).boxed()
    }),
    ("subjects show what is queued and delivered", |f| {
        subjects(f).boxed()
    }),
    ("a loss shows", |f| loss(f).boxed()),
    ("dead letters are stored", |f| dead_letters(f).boxed()),
    ("the ledger stores an entry once", |f| {
        ledger_once(f).boxed()
    }),
    ("work queues know no message ids", |f| no_ids(f).boxed()),
    ("too large a message is refused", |f| too_large(f).boxed()),
];

const SOON: Duration = Duration::from_secs(2);
const NOW: Duration = Duration::from_millis(100);

fn same<T: PartialEq + Debug>(what: &str, is: &T, expected: &T) -> Result<(), Broken> {
    holds(is == expected, || {
        format!("{what}: {is:?}, not {expected:?}")
    })
}

fn holds(promise: bool, broken: impl FnOnce() -> String) -> Result<(), Broken> {
    if promise {
        Ok(())
    } else {
        Err(Broken::Other(broken()))
    }
}

fn message(stream: Stream, name: &str) -> Message {
    let subject = stream
        .subjects()
        .replace('>', &format!("c.PortfolioApp.contract.{name}"));
    let headers = BTreeMap::from([("ce-id".to_owned(), name.to_owned())]);
    Message {
        stream,
        subject,
        headers,
        body: name.as_bytes().to_vec(),
        msg_id: None,
    }
}

async fn send(bus: &SharedBus, stream: Stream, name: &str) -> Result<u64, PublishError> {
    bus.publish(message(stream, name)).await
}

async fn take_one(bus: &SharedBus, stream: Stream, wait: Duration) -> Result<Delivery, Broken> {
    let taken = bus.fetch(stream, 1, wait).await?;
    taken
        .into_iter()
        .next()
        .ok_or_else(|| Broken::Other(format!("nothing within {wait:?}")))
}

async fn drain(bus: &SharedBus, stream: Stream) -> Result<usize, Broken> {
    let mut count = 0;
    loop {
        let taken = bus.fetch(stream, BACKLOG_LIMIT, NOW).await?;
        if taken.is_empty() {
            return Ok(count);
        }
        for delivery in taken {
            delivery.acker.ack().await?;
            count += 1;
        }
    }
}

/// The place of an acknowledged message is free as soon as the server has heard of it.
async fn send_when_free(bus: &SharedBus, stream: Stream, name: &str) -> Result<u64, PublishError> {
    let begun = Instant::now();
    loop {
        match send(bus, stream, name).await {
            Err(PublishError::Occupied(_) | PublishError::Full(_)) if begun.elapsed() < SOON => {}
            sent => return sent,
        }
    }
}

/// Nothing is left once the server has heard of every acknowledgement.
async fn empty(bus: &SharedBus, stream: Stream) -> Result<(), Broken> {
    let begun = Instant::now();
    loop {
        let left = bus.subjects(stream).await?;
        if left.is_empty() || begun.elapsed() >= SOON {
            return same("left", &left, &BTreeMap::new());
        }
    }
}

async fn fifty(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Events);
    for number in 0..BACKLOG_LIMIT {
        send(bus, stream, &format!("fifty-{number}")).await?;
    }
    let above = send(bus, stream, "fifty-more").await;
    same("one above", &above, &Err(PublishError::Full(stream.name())))?;
    let first = take_one(bus, stream, SOON).await?;
    let above = send(bus, stream, "fifty-more").await;
    same(
        "while one is delivered",
        &above,
        &Err(PublishError::Full(stream.name())),
    )?;
    first.acker.ack().await?;
    send_when_free(bus, stream, "fifty-more").await?;
    same("in all", &drain(bus, stream).await?, &BACKLOG_LIMIT)
}

async fn one_per_subject(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Plans);
    let first = send(bus, stream, "one").await?;
    let occupied = Err(PublishError::Occupied(message(stream, "one").subject));
    same("while queued", &send(bus, stream, "one").await, &occupied)?;
    let delivery = take_one(bus, stream, SOON).await?;
    same("sequence", &delivery.sequence, &first)?;
    same(
        "while delivered",
        &send(bus, stream, "one").await,
        &occupied,
    )?;
    delivery.acker.ack().await?;
    let second = send_when_free(bus, stream, "one").await?;
    holds(second > first, || {
        format!("sequence {second} after {first}")
    })?;
    same("left", &drain(bus, stream).await?, &1)
}

async fn comes_again(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Plans);
    send(bus, stream, "again").await?;
    let first = take_one(bus, stream, SOON).await?;
    let begun = Instant::now();
    let second = take_one(bus, stream, ACK_WAIT + SOON).await?;
    let waited = begun.elapsed();
    holds(waited + SOON / 4 > ACK_WAIT, || {
        format!("came after {waited:?}")
    })?;
    same("deliveries", &[first.delivered, second.delivered], &[1, 2])?;
    same("sequence", &second.sequence, &first.sequence)?;
    second.acker.ack().await?;
    empty(bus, stream).await
}

async fn held(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Events);
    send(bus, stream, "held").await?;
    let delivery = take_one(bus, stream, SOON).await?;
    for _ in 0..2 {
        let early = bus.fetch(stream, 1, ACK_WAIT * 2 / 3).await?;
        same("came again", &early.len(), &0)?;
        delivery.acker.in_progress().await?;
    }
    delivery.acker.ack().await?;
    empty(bus, stream).await
}

async fn given_back(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Outcomes);
    send(bus, stream, "back").await?;
    take_one(bus, stream, SOON).await?.acker.nak().await?;
    let again = take_one(bus, stream, SOON).await?;
    same("deliveries", &again.delivered, &2)?;
    Ok(again.acker.ack().await?)
}

async fn subjects(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Triggers);
    send(bus, stream, "first").await?;
    let delivery = take_one(bus, stream, SOON).await?;
    send(bus, stream, "second").await?;
    let both = ["first", "second"].map(|name| (message(stream, name).subject, 1));
    same(
        "subjects",
        &bus.subjects(stream).await?,
        &BTreeMap::from(both),
    )?;
    delivery.acker.ack().await?;
    same("left", &drain(bus, stream).await?, &1)?;
    empty(bus, stream).await
}

async fn loss(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Events);
    send(bus, stream, "lost").await?;
    let before = bus.state(stream).await?;
    same("nothing lost yet", &bus.state(stream).await?, &before)?;
    fixture.lose(stream).await?;
    let after = bus.state(stream).await?;
    holds(after.created != before.created, || format!("{after:?}"))?;
    holds(after.last_sequence < before.last_sequence, || {
        format!("{after:?}")
    })?;
    // The place is free again, and the consumer serves.
    send(bus, stream, "lost").await?;
    same("left", &drain(bus, stream).await?, &1)
}

async fn dead_letters(fixture: &dyn Fixture) -> Result<(), Broken> {
    let bus = fixture.bus();
    let before = bus.state(Stream::Dead).await?.messages;
    for reason in ["no JSON", "sixth delivery"] {
        let subject = message(Stream::Plans, "dead").subject;
        bus.publish(crate::record::dead_message(
            Stream::Plans,
            &subject,
            reason,
            vec![b'x'],
        ))
        .await?;
    }
    same(
        "both",
        &bus.state(Stream::Dead).await?.messages,
        &(before + 2),
    )
}

async fn ledger_once(fixture: &dyn Fixture) -> Result<(), Broken> {
    let bus = fixture.bus();
    let entry = |name: &str| {
        let mut entry = message(Stream::Ledger, "once");
        entry.msg_id = Some(format!("flight/{name}"));
        entry
    };
    let before = bus.state(Stream::Ledger).await?.messages;
    let first = bus.publish(entry("plan")).await?;
    same("the same id", &bus.publish(entry("plan")).await?, &first)?;
    bus.publish(entry("outcome")).await?;
    same(
        "two entries",
        &bus.state(Stream::Ledger).await?.messages,
        &(before + 2),
    )
}

async fn no_ids(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Events);
    let dirty = Message {
        headers: BTreeMap::new(),
        ..message(stream, "no-id")
    };
    for _ in 0..2 {
        bus.publish(dirty.clone()).await?;
        take_one(bus, stream, SOON).await?.acker.ack().await?;
        empty(bus, stream).await?;
    }
    Ok(())
}

async fn too_large(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Events);
    let mut large = message(stream, "large");
    large.body = vec![b'x'; MAX_MESSAGE];
    bus.publish(large.clone()).await?;
    same("the largest one", &drain(bus, stream).await?, &1)?;
    empty(bus, stream).await?;
    large.body.push(b'x');
    let refused = PublishError::TooLarge {
        subject: large.subject.clone(),
        bytes: MAX_MESSAGE + 1,
    };
    same("one byte more", &bus.publish(large).await, &Err(refused))?;
    same("stored", &bus.state(stream).await?.messages, &0)
}
