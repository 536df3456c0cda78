//! What a fetch takes, what it waits for, and what becomes of what nobody takes.
//!
//! Decides nothing: cases of the contract.

use super::{
    ACK_WAIT, Broken, Delivery, Fixture, Instant, NOW, SOON, SharedBus, Stream, holds, message,
    same, send, take_one,
};

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

pub(super) async fn no_more_than_asked(fixture: &dyn Fixture) -> Result<(), Broken> {
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

pub(super) async fn waits_for_the_first(fixture: &dyn Fixture) -> Result<(), Broken> {
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

pub(super) async fn who_leaves(fixture: &dyn Fixture) -> Result<(), Broken> {
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

pub(super) async fn dropped_fetch(fixture: &dyn Fixture) -> Result<(), Broken> {
    let (bus, stream) = (fixture.bus(), Stream::Plans);
    // Its request is at the server when it is dropped.
    let dropped = tokio::time::timeout(NOW, bus.fetch(stream, 5, SOON * 5)).await;
    holds(dropped.is_err(), || "something was there".to_owned())?;
    send(bus, stream, "after").await?;
    let delivery = take_one(bus, stream, ACK_WAIT + SOON).await?;
    delivery.acker.ack().await?;
    same("body", &delivery.body, &b"after".to_vec())
}
