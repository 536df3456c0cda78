//! What every bus has to do: one suite for both implementations.
//!
//! A part relies on nothing that is not checked here. Cases use objects of their own and leave the work
//! queues empty; they wait by fetching, never by sleeping.

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
        no_more_than_asked(f).boxed()
    }),
    ("a fetch waits for the first", |f| {
        waits_for_the_first(f).boxed()
    }),
    ("who leaves gives back", |f| who_leaves(f).boxed()),
    ("a dropped fetch loses nothing", |f| {
        dropped_fetch(f).boxed()
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

/// So many messages, which are there; no fetch brings more than it asks for.
async fn take_all(bus: &SharedBus, stream: Stream, count: usize) -> Result<Vec<Delivery>, Broken> {
    let mut all = Vec::new();
    while all.len() < count {
        let max = count - all.len();
        let taken = bus.fetch(stream, max, SOON).await?;
        holds((1..=max).contains(&taken.len()), || {
            format!("{} of {max} came", taken.len())
        })?;
        all.extend(taken);
    }
    Ok(all)
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
    send(bus, stream, "fifty-more").await?;
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
    let second = send(bus, stream, "one").await?;
    holds(second > first, || {
        format!("sequence {second} after {first}")
    })?;
    same("left", &drain(bus, stream).await?, &1)
}

async fn no_more_than_asked(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Plans);
    for name in ["a", "b", "c", "d", "e"] {
        send(bus, stream, name).await?;
    }
    let taken = take_all(bus, stream, 3).await?;
    let subjects: Vec<&str> = taken.iter().map(|d| d.subject.as_str()).collect();
    let expected = ["a", "b", "c"].map(|name| message(stream, name).subject);
    same(
        "the first three, in order",
        &subjects,
        &expected.iter().map(String::as_str).collect(),
    )?;
    let begun = Instant::now();
    let rest = take_all(bus, stream, 2).await?;
    same(
        "the rest, first delivery",
        &rest.iter().map(|d| d.delivered).collect(),
        &vec![1, 1],
    )?;
    holds(begun.elapsed() < SOON / 2, || {
        "waited although there was something".to_owned()
    })?;
    for delivery in taken.into_iter().chain(rest) {
        same(
            "header",
            &delivery.headers.get("ce-id").map(String::as_bytes),
            &Some(&*delivery.body),
        )?;
        delivery.acker.ack().await?;
    }
    let begun = Instant::now();
    same(
        "nothing is no error",
        &bus.fetch(stream, 3, NOW).await?.len(),
        &0,
    )?;
    holds(begun.elapsed() >= NOW / 2, || "did not wait".to_owned())
}

async fn waits_for_the_first(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Outcomes);
    let begun = Instant::now();
    let (taken, sent) = tokio::join!(bus.fetch(stream, 10, SOON * 2), async {
        same(
            "nothing yet",
            &bus.fetch(Stream::Triggers, 1, NOW).await?.len(),
            &0,
        )?;
        Ok::<u64, Broken>(send(bus, stream, "late").await?)
    });
    let (taken, sent) = (taken?, sent?);
    same(
        "what came",
        &taken.iter().map(|d| d.sequence).collect(),
        &vec![sent],
    )?;
    holds(begun.elapsed() < SOON, || {
        format!("took {:?}", begun.elapsed())
    })?;
    for delivery in taken {
        delivery.acker.ack().await?;
    }
    Ok(())
}

async fn who_leaves(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Plans);
    send(bus, stream, "taken").await?;
    let taken = bus.fetch(stream, 10, ACK_WAIT).await?;
    // It may be delivered behind the fetch.
    send(bus, stream, "behind").await?;
    bus.leave(stream).await;
    let begun = Instant::now();
    let delivery = take_one(bus, stream, ACK_WAIT + SOON).await?;
    holds(begun.elapsed() < ACK_WAIT / 2, || {
        format!("came after {:?}", begun.elapsed())
    })?;
    same("body", &delivery.body, &b"behind".to_vec())?;
    for delivery in taken.into_iter().chain([delivery]) {
        delivery.acker.ack().await?;
    }
    Ok(())
}

async fn dropped_fetch(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Plans);
    // Its request is at the server when it is dropped.
    let dropped = tokio::time::timeout(NOW, bus.fetch(stream, 5, SOON * 5)).await;
    holds(dropped.is_err(), || "something was there".to_owned())?;
    send(bus, stream, "after").await?;
    let delivery = take_one(bus, stream, ACK_WAIT + SOON).await?;
    delivery.acker.ack().await?;
    same("body", &delivery.body, &b"after".to_vec())
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
    same("left", &bus.subjects(stream).await?.len(), &0)
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
    same("left", &bus.state(stream).await?.messages, &0)
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
    same("subjects", &bus.subjects(stream).await?, &BTreeMap::new())
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
    }
    Ok(())
}

async fn too_large(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Events);
    let mut large = message(stream, "large");
    large.body = vec![b'x'; MAX_MESSAGE];
    bus.publish(large.clone()).await?;
    same("the largest one", &drain(bus, stream).await?, &1)?;
    large.body.push(b'x');
    let refused = PublishError::TooLarge {
        subject: large.subject.clone(),
        bytes: MAX_MESSAGE + 1,
    };
    same("one byte more", &bus.publish(large).await, &Err(refused))?;
    same("stored", &bus.state(stream).await?.messages, &0)
}
