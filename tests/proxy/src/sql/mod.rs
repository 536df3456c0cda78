//! PostgreSQL between a part and the database: each statement that is run as a step.
//!
//! Decides how a fault looks there. A statement has taken effect when the server is ready for the next
//! one; what is only prepared is no step, a connection is one. Passwords pass as they are; TLS is not
//! offered. An error is raised by the server itself, so that the transaction fails as it would.

mod frame;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use self::frame::{First, Message};
use crate::director::{Cut, Director};
use crate::fault::{Fault, Loss, Place};
use crate::valve::{Direction, Valve};

/// As much of a statement as a trace keeps.
const LONGEST: usize = 96;

/// One session.
struct Session {
    director: Arc<Director>,
    valve: Arc<Valve>,
    database: String,
    /// What is done with each end of a statement that is still to come.
    ends: Mutex<VecDeque<Option<Fault>>>,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(
    mut client: TcpStream,
    to: String,
    director: Arc<Director>,
    valve: Arc<Valve>,
) {
    let Ok(mut server) = TcpStream::connect(to).await else {
        return;
    };
    let _ = server.set_nodelay(true);
    let mut buffer = BytesMut::new();
    let (database, raw) = loop {
        match frame::take_first(&mut buffer) {
            Some(First::Session { database, raw }) => break (database, raw),
            Some(First::Encrypt) => {
                if client.write_all(b"N").await.is_err() {
                    return;
                }
            }
            Some(First::Cancel(raw)) => {
                if server.write_all(&raw).await.is_ok() {
                    // The server closes without an answer.
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
                return;
            }
            None => match client.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            },
        }
    };
    let Ok(step) = director.arrive(&format!("sql {database} CONNECT"), true) else {
        return;
    };
    let greeting = match step.fault {
        Some(Fault::Raise(state)) => {
            // Refused before there is a session.
            let _ = client.write_all(&frame::fatal(&state)).await;
            return;
        }
        Some(Fault::Cut) => return,
        Some(Fault::Drop) => std::future::pending().await,
        Some(Fault::Delay { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            None
        }
        other => other,
    };
    if server.write_all(&raw).await.is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let session = Session {
        director,
        valve,
        database,
        // The end of the greeting.
        ends: Mutex::new(VecDeque::from([greeting])),
    };
    tokio::select! {
        _ = session.ask(buffer, from_client, to_server) => {}
        _ = session.answer(from_server, to_client) => {}
    }
}

impl Session {
    async fn ask(
        &self,
        mut buffer: BytesMut,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
    ) -> Result<(), Cut> {
        let mut asked = Asked::default();
        loop {
            while let Some(message) = frame::take(&mut buffer) {
                self.valve.pass(Direction::ToServer).await;
                let Some((statement, unit)) = asked.add(&message) else {
                    continue;
                };
                self.send(statement, &unit, &mut to).await?;
            }
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ok(()),
            }
        }
    }

    async fn send(
        &self,
        statement: Statement,
        unit: &[u8],
        to: &mut OwnedWriteHalf,
    ) -> Result<(), Cut> {
        let fault = match statement {
            Statement::Run(sql) => {
                let text = format!("sql {} {}", self.database, short(&sql));
                self.director.arrive(&text, true)?.fault
            }
            Statement::Prepared => {
                self.director.alive()?;
                None
            }
            // A password, the end of the session: nothing answers with "ready".
            Statement::Other => {
                self.director.alive()?;
                return to.write_all(unit).await.map_err(|_| Cut);
            }
        };
        let mut unit = Bytes::copy_from_slice(unit);
        match &fault {
            Some(Fault::Drop) => return Ok(()),
            Some(Fault::Cut) => return Err(Cut),
            Some(Fault::Delay { ms }) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Some(Fault::Raise(state)) => unit = frame::raise(state),
            // A statement is never sent twice: the part did not ask for that.
            None
            | Some(
                Fault::Kill(_)
                | Fault::Lose(_)
                | Fault::Refuse { .. }
                | Fault::Duplicate
                | Fault::Hold { .. }
                | Fault::Past(_)
                | Fault::Gone
                | Fault::Pause
                | Fault::Reject(_),
            ) => {}
        }
        self.ends().push_back(fault);
        to.write_all(&unit).await.map_err(|_| Cut)
    }

    async fn answer(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> Result<(), Cut> {
        let mut buffer = BytesMut::new();
        let mut unit = BytesMut::new();
        let mut greeted = false;
        loop {
            while let Some(message) = frame::take(&mut buffer) {
                unit.extend_from_slice(&message.raw);
                let ready = message.kind == b'Z';
                if ready {
                    greeted = true;
                    let fault = self.ends().pop_front().flatten();
                    self.end(fault, &mut unit, &mut to).await?;
                } else if !greeted || message.kind == b'N' {
                    self.pass(&mut unit, &mut to).await?;
                }
            }
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                // What was said last, such as why a session ends, is passed on.
                Ok(0) | Err(_) => return self.pass(&mut unit, &mut to).await,
            }
        }
    }

    async fn end(
        &self,
        fault: Option<Fault>,
        unit: &mut BytesMut,
        to: &mut OwnedWriteHalf,
    ) -> Result<(), Cut> {
        match fault {
            Some(Fault::Kill(Place::Before | Place::Answer)) => {
                self.director.kill();
                Err(Cut)
            }
            Some(Fault::Kill(Place::After)) => {
                self.pass(unit, to).await?;
                self.director.doom();
                Ok(())
            }
            Some(Fault::Lose(Loss::Reset)) => Err(Cut),
            Some(Fault::Lose(Loss::Timeout)) => {
                unit.clear();
                Ok(())
            }
            None
            | Some(
                Fault::Refuse { .. }
                | Fault::Delay { .. }
                | Fault::Drop
                | Fault::Duplicate
                | Fault::Cut
                | Fault::Hold { .. }
                | Fault::Past(_)
                | Fault::Gone
                | Fault::Pause
                | Fault::Reject(_)
                | Fault::Raise(_),
            ) => self.pass(unit, to).await,
        }
    }

    async fn pass(&self, unit: &mut BytesMut, to: &mut OwnedWriteHalf) -> Result<(), Cut> {
        self.valve.pass(Direction::ToPart).await;
        to.write_all(&unit.split()).await.map_err(|_| Cut)
    }

    fn ends(&self) -> std::sync::MutexGuard<'_, VecDeque<Option<Fault>>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a group of messages does.
enum Statement {
    /// Runs this.
    Run(String),
    /// Prepares something.
    Prepared,
    /// Neither.
    Other,
}

/// Messages of the part, until they make a statement.
#[derive(Default)]
struct Asked {
    unit: BytesMut,
    /// Prepared statements by name.
    prepared: HashMap<String, String>,
    bound: String,
    runs: bool,
}

impl Asked {
    /// The statement and its bytes, when this message completes it.
    fn add(&mut self, message: &Message) -> Option<(Statement, Bytes)> {
        self.unit.extend_from_slice(&message.raw);
        let statement = match message.kind {
            b'Q' => {
                let [sql] = message.words();
                Statement::Run(sql)
            }
            b'P' => {
                let [name, sql] = message.words();
                self.prepared.insert(name, sql);
                return None;
            }
            b'B' => {
                let [_portal, name] = message.words();
                self.bound = self.prepared.get(&name).cloned().unwrap_or_default();
                return None;
            }
            b'E' => {
                self.runs = true;
                return None;
            }
            b'D' | b'C' => return None,
            b'S' if std::mem::take(&mut self.runs) => Statement::Run(self.bound.clone()),
            b'S' => Statement::Prepared,
            _ => Statement::Other,
        };
        Some((statement, self.unit.split().freeze()))
    }
}

/// The statement in one line, cut.
fn short(sql: &str) -> String {
    let line: Vec<&str> = sql.split_whitespace().collect();
    line.join(" ").chars().take(LONGEST).collect()
}
