//! Publishes, acks and deliveries of the bus.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_common::bus::{BusError, Message, PublishError};
use signalbox_common::subject::Stream;
use signalbox_proxy::{Direction, Fault, Loss, Place, Plan, Protocol, Rejection};
use signalbox_tests::bus::BusView;
use signalbox_tests::eventually;

use super::{Case, SILENCE, SOON};

fn message(stream: Stream, subject: &str) -> Message {
    Message {
        stream,
        subject: subject.to_owned(),
        headers: BTreeMap::from([
            ("ce-id".to_owned(), subject.to_owned()),
            ("ce-time".to_owned(), Timestamp::now().to_string()),
        ]),
        body: b"{}".to_vec(),
        msg_id: None,
    }
}

/// Waits for the acks that are under way.
async fn emptied(stored: &BusView) {
    eventually("every ack has arrived", SOON, || stored.is_free()).await;
}

/// What a publisher and a taker see of each refusal; nothing is stored, nothing acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let mut case = Case::new("proxy-reject").await;
    let stored = case.world.bus().await;
    let planner = JetStreamBus::connect(&case.world.common_args("planner"), Role::Planner)
        .await
        .unwrap();
    for (number, rejection) in Rejection::ALL.into_iter().enumerate() {
        let subject = format!("sb.outcome.suite.PortfolioApp.team.a{number}");
        let step = format!("bus publish {subject}");
        case.plan(Plan::once(&step, 1, Fault::Reject(rejection)));
        let bus = case.bus().await;
        let answer = bus.publish(message(Stream::Outcomes, &subject)).await;
        let error = answer.unwrap_err();
        let expected = match rejection {
            Rejection::Full => matches!(error, PublishError::Full("OUTCOMES")),
            Rejection::Occupied => error == PublishError::Occupied(subject.clone()),
            Rejection::NoStore => {
                matches!(&error, PublishError::Unknown(_, why) if why.contains("insufficient"))
            }
            Rejection::NoResponders => {
                matches!(&error, PublishError::Unknown(_, why) if why.contains("no stream"))
            }
            Rejection::Permission => error == PublishError::Forbidden(subject.clone()),
        };
        assert!(expected, "{rejection:?}: {error:?}");
        assert_eq!(case.part.proxy.director.made().len(), 1);
        assert_eq!(stored.open().await, 0, "{rejection:?}");
    }

    // Nobody waits for the answer to an ack: whether it arrived shows in what is delivered again.
    let cases = [
        (Fault::Reject(Rejection::NoResponders), true),
        (Fault::Reject(Rejection::Permission), true),
        (Fault::Drop, true),
        (Fault::Lose(Loss::Timeout), false),
    ];
    for (number, (fault, stays)) in cases.into_iter().enumerate() {
        let subject = format!("sb.plan.suite.PortfolioApp.team.b{number}");
        case.plan(Plan::once(&format!("bus ack {subject}"), 1, fault.clone()));
        let bus = case.bus().await;
        planner
            .publish(message(Stream::Plans, &subject))
            .await
            .unwrap();
        let taken = bus.fetch(Stream::Plans, 1, SOON).await.unwrap();
        taken[0].acker.ack().await.unwrap();
        if stays {
            let again = eventually("it is delivered again", SOON, || async {
                let taken = bus.fetch(Stream::Plans, 1, SILENCE).await;
                taken
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .ok_or("nothing")
            })
            .await;
            again.acker.ack().await.unwrap();
        }
        emptied(&stored).await;
    }

    // What is given back or held longer is answered, and its refusal seen.
    let subject = "sb.plan.suite.PortfolioApp.team.c";
    let refused = Fault::Reject(Rejection::NoResponders);
    let mut plan = Plan::every(&format!("bus nak {subject}"), refused.clone());
    plan.rules
        .extend(Plan::every(&format!("bus extend {subject}"), refused).rules);
    case.plan(plan);
    let bus = case.bus().await;
    planner
        .publish(message(Stream::Plans, subject))
        .await
        .unwrap();
    let taken = bus.fetch(Stream::Plans, 1, SOON).await.unwrap();
    assert!(taken[0].acker.nak().await.is_err());
    assert!(taken[0].acker.in_progress().await.is_err());
    taken[0].acker.ack().await.unwrap();
    emptied(&stored).await;

    // A fetch that is refused says so.
    for (rejection, forbidden) in [
        (Rejection::Permission, true),
        (Rejection::NoResponders, false),
    ] {
        case.plan(Plan::every("bus fetch *", Fault::Reject(rejection)));
        let bus = case.bus().await;
        let error = bus.fetch(Stream::Plans, 1, SOON).await.err().unwrap();
        assert_eq!(
            matches!(error, BusError::Forbidden(_)),
            forbidden,
            "{error:?}"
        );
    }
}

/// What a publisher sees, how often the message is stored, whether the part died.
#[tokio::test(flavor = "multi_thread")]
async fn publishes_and_deliveries() {
    let mut case = Case::new("proxy-bus").await;
    let stored = case.world.bus().await;
    let planner = JetStreamBus::connect(&case.world.common_args("planner"), Role::Planner)
        .await
        .unwrap();
    let cases = [
        (None, true, 1, false),
        (Some(Fault::Drop), false, 0, false),
        (Some(Fault::Cut), false, 0, false),
        (Some(Fault::Duplicate), true, 2, false),
        (Some(Fault::Delay { ms: 100 }), true, 1, false),
        (Some(Fault::Lose(Loss::Timeout)), false, 1, false),
        (Some(Fault::Lose(Loss::Reset)), false, 1, false),
        (Some(Fault::Kill(Place::Before)), false, 0, true),
        (Some(Fault::Kill(Place::Answer)), false, 1, true),
        (Some(Fault::Kill(Place::After)), true, 1, true),
    ];
    for (number, (fault, answered, times, dies)) in cases.into_iter().enumerate() {
        let subject = format!("sb.ledger.suite.outcome.PortfolioApp.team.a{number}");
        let step = format!("bus publish {subject}");
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let bus = case.bus().await;
        let before = stored.last_sequence(Stream::Ledger).await;
        let answer = bus.publish(message(Stream::Ledger, &subject)).await;
        assert_eq!(answer.is_ok(), answered, "{fault:?}: {answer:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        let after = stored.last_sequence(Stream::Ledger).await;
        assert_eq!(after - before, times, "{fault:?}");
        let steps = case.part.proxy.director.trace();
        assert!(steps.iter().any(|entry| entry.step == step && entry.effect));
    }

    let cases = [
        (None, 1, false),
        (Some(Fault::Drop), 0, false),
        (Some(Fault::Duplicate), 2, false),
        (Some(Fault::Kill(Place::Before)), 0, true),
        (Some(Fault::Kill(Place::After)), 1, true),
    ];
    for (number, (fault, times, dies)) in cases.into_iter().enumerate() {
        let subject = format!("sb.plan.suite.PortfolioApp.team.a{number}");
        let step = format!("bus deliver {subject}");
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let bus = case.bus().await;
        planner
            .publish(message(Stream::Plans, &subject))
            .await
            .unwrap();
        let taken = bus
            .fetch(Stream::Plans, 2, SILENCE)
            .await
            .unwrap_or_default();
        assert_eq!(taken.len(), times, "{fault:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        // Whatever was taken or not: it is delivered until somebody acknowledges it.
        case.plan(Plan::default());
        let bus = case.bus().await;
        let again = eventually("it is delivered", SOON, || async {
            let taken = bus
                .fetch(Stream::Plans, 1, SILENCE)
                .await
                .unwrap_or_default();
            taken.into_iter().next().ok_or("nothing")
        })
        .await;
        assert_eq!(again.subject, subject);
        again.acker.ack().await.unwrap();
        emptied(&stored).await;
        let acks = case.part.proxy.director.trace();
        let ack = format!("bus ack {subject}");
        assert!(acks.iter().any(|entry| entry.step == ack && entry.effect));
    }

    // A partition holds a publish back; healed, it goes on.
    let bus = case.bus().await;
    case.part
        .proxy
        .part_from(Protocol::Bus, Direction::ToServer);
    let before = stored.last_sequence(Stream::Ledger).await;
    let late = message(
        Stream::Ledger,
        "sb.ledger.suite.outcome.PortfolioApp.team.late",
    );
    assert!(bus.publish(late).await.is_err());
    assert_eq!(stored.last_sequence(Stream::Ledger).await, before);
    case.part.proxy.heal(Protocol::Bus, Direction::ToServer);
    eventually("it is stored", SOON, || async {
        match stored.last_sequence(Stream::Ledger).await - before {
            1 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
