//! NATS between a part and the bus: publishes, acks and deliveries as steps.
//!
//! Decides how a fault looks over NATS. Keys and signatures pass as they are, so the part is who it is.
//! Requests for messages and in-progress acks are steps without effect: how many there are is a
//! matter of time.

mod frame;
mod refusal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use self::frame::Frame;
use self::refusal::Subscriptions;
use crate::director::{Cut, Director};
use crate::fault::{Fault, Loss, Place};
use crate::valve::{Direction, Valve};

/// One connection.
struct Wire {
    director: Arc<Director>,
    valve: Arc<Valve>,
    waits: Mutex<Waits>,
}

/// What is waited for.
#[derive(Default)]
struct Waits {
    /// Where an answer comes, and what is done with it.
    answers: HashMap<String, Fault>,
    /// The subject of each delivery by that of its ack.
    deliveries: HashMap<String, String>,
    /// What the part listens to.
    listens: Subscriptions,
}

type Sender = mpsc::UnboundedSender<Bytes>;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    client: TcpStream,
    to: String,
    director: Arc<Director>,
    valve: Arc<Valve>,
) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let _ = server.set_nodelay(true);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (up, up_queue) = mpsc::unbounded_channel();
    let (down, down_queue) = mpsc::unbounded_channel();
    let wire = Wire {
        director,
        valve,
        waits: Mutex::default(),
    };
    // Either side's end is the end of both.
    tokio::select! {
        _ = wire.ask(from_client, up, down.clone()) => {}
        _ = wire.answer(from_server, down) => {}
        () = write(up_queue, to_server) => {}
        () = write(down_queue, to_client) => {}
    }
}

async fn write(mut queue: mpsc::UnboundedReceiver<Bytes>, mut to: OwnedWriteHalf) {
    while let Some(bytes) = queue.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

impl Wire {
    async fn ask(&self, from: OwnedReadHalf, to: Sender, back: Sender) -> Result<(), Cut> {
        self.each(Direction::ToServer, from, |frame| {
            self.asked(frame, &to, &back)
        })
        .await
    }

    /// Hands over each frame of one direction, until its end.
    async fn each(
        &self,
        direction: Direction,
        mut from: OwnedReadHalf,
        mut hand: impl FnMut(Frame) -> Result<(), Cut>,
    ) -> Result<(), Cut> {
        let mut buffer = BytesMut::new();
        loop {
            while let Some(frame) = frame::take(&mut buffer) {
                self.valve.pass(direction).await;
                hand(frame)?;
            }
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ok(()),
            }
        }
    }

    fn asked(&self, frame: Frame, to: &Sender, back: &Sender) -> Result<(), Cut> {
        let (subject, reply, body, raw) = match frame {
            Frame::Other(raw) => {
                // Subscriptions and pings are no steps, but the doomed send them no more.
                self.director.alive()?;
                return to.send(raw).map_err(|_| Cut);
            }
            Frame::Subscribe { subject, id, raw } => {
                self.director.alive()?;
                self.director.say().subscribe.insert(subject.clone());
                self.waits().listens.add(subject, id);
                return to.send(raw).map_err(|_| Cut);
            }
            Frame::Message {
                subject,
                reply,
                body,
                raw,
            } => (subject, reply, body, raw),
        };
        self.director.say().publish.insert(subject.clone());
        let (text, effect) = self.describe(&subject, &body);
        let step = self.director.arrive(&text, effect)?;
        let pass = |raw: Bytes| to.send(raw).map_err(|_| Cut);
        match step.fault {
            None
            | Some(
                Fault::Refuse { .. }
                | Fault::Hold { .. }
                | Fault::Past(_)
                | Fault::Gone
                | Fault::Pause
                | Fault::Raise(_),
            ) => pass(raw),
            Some(Fault::Reject(rejection)) => {
                let answer = self.waits().listens.refuse(rejection, &subject, reply);
                answer.map_or(Ok(()), |answer| back.send(answer).map_err(|_| Cut))
            }
            Some(fault @ (Fault::Kill(_) | Fault::Lose(_))) => {
                pass(raw)?;
                match reply {
                    Some(reply) => {
                        self.waits().answers.insert(reply, fault);
                        Ok(())
                    }
                    // Nothing answers: that it was sent has to do.
                    None => self.answered(&fault).map(drop),
                }
            }
            Some(Fault::Delay { ms }) => {
                later(ms, raw, to.clone());
                Ok(())
            }
            Some(Fault::Drop) => Ok(()),
            Some(Fault::Duplicate) => {
                pass(raw.clone())?;
                pass(raw)
            }
            Some(Fault::Cut) => Err(Cut),
        }
    }

    async fn answer(&self, from: OwnedReadHalf, to: Sender) -> Result<(), Cut> {
        self.each(Direction::ToPart, from, |frame| self.told(frame, &to))
            .await
    }

    fn told(&self, frame: Frame, to: &Sender) -> Result<(), Cut> {
        let pass = |raw: Bytes| to.send(raw).map_err(|_| Cut);
        let (subject, reply, raw) = match frame {
            Frame::Other(raw) | Frame::Subscribe { raw, .. } => return pass(raw),
            Frame::Message {
                subject,
                reply,
                raw,
                ..
            } => (subject, reply, raw),
        };
        let awaited = self.waits().answers.remove(&subject);
        if let Some(fault) = awaited {
            if self.answered(&fault)? {
                pass(raw)?;
                if fault == Fault::Kill(Place::After) {
                    self.director.doom();
                }
            }
            return Ok(());
        }
        let Some(ack) = reply.filter(|reply| reply.starts_with("$JS.ACK.")) else {
            return pass(raw);
        };
        let step = self
            .director
            .arrive(&format!("bus deliver {subject}"), false)?;
        self.waits().deliveries.insert(ack, subject);
        match step.fault {
            None
            | Some(
                Fault::Refuse { .. }
                | Fault::Hold { .. }
                | Fault::Past(_)
                | Fault::Gone
                | Fault::Pause
                | Fault::Reject(_)
                | Fault::Raise(_)
                | Fault::Lose(Loss::Timeout),
            ) => pass(raw),
            Some(Fault::Kill(Place::After)) => {
                pass(raw)?;
                self.director.doom();
                Ok(())
            }
            Some(Fault::Kill(Place::Before | Place::Answer)) => {
                self.director.kill();
                Err(Cut)
            }
            Some(Fault::Delay { ms }) => {
                later(ms, raw, to.clone());
                Ok(())
            }
            Some(Fault::Drop) => Ok(()),
            Some(Fault::Duplicate) => {
                pass(raw.clone())?;
                pass(raw)
            }
            Some(Fault::Cut | Fault::Lose(Loss::Reset)) => Err(Cut),
        }
    }

    /// What is done now that the effect has happened: whether the answer is passed on.
    fn answered(&self, fault: &Fault) -> Result<bool, Cut> {
        match fault {
            Fault::Kill(Place::Before | Place::Answer) => {
                self.director.kill();
                Err(Cut)
            }
            Fault::Lose(Loss::Reset) => Err(Cut),
            Fault::Lose(Loss::Timeout) => Ok(false),
            Fault::Kill(Place::After)
            | Fault::Refuse { .. }
            | Fault::Delay { .. }
            | Fault::Drop
            | Fault::Duplicate
            | Fault::Cut
            | Fault::Hold { .. }
            | Fault::Past(_)
            | Fault::Gone
            | Fault::Pause
            | Fault::Reject(_)
            | Fault::Raise(_) => Ok(true),
        }
    }

    /// The step and whether it has an effect.
    fn describe(&self, subject: &str, body: &[u8]) -> (String, bool) {
        if subject.starts_with("$JS.ACK.") {
            let of = self.waits().deliveries.get(subject).cloned();
            let of = of.unwrap_or_default();
            return match body {
                b"+ACK" => (format!("bus ack {of}"), true),
                b"-NAK" => (format!("bus nak {of}"), true),
                _ => (format!("bus extend {of}"), false),
            };
        }
        if let Some(rest) = subject.strip_prefix("$JS.API.CONSUMER.MSG.NEXT.") {
            return (format!("bus fetch {rest}"), false);
        }
        if let Some(rest) = subject.strip_prefix("$JS.API.") {
            return (format!("bus ask {rest}"), false);
        }
        (format!("bus publish {subject}"), true)
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passed on later, without holding up what follows.
fn later(ms: u64, raw: Bytes, to: Sender) {
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        // The connection may have ended meanwhile.
        let _ = to.send(raw);
    });
}
