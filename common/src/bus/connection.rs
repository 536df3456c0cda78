//! One connection to nats-server: requests with a limit on time, and refusals that show at once.
//!
//! The server tells a missing right apart from the answer of a request; here it becomes the request's
//! error. Nothing is sent while the connection is down: what nobody waits for any more must not be
//! stored later. Knows nothing of streams.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::client::Request;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, Message, RequestErrorKind,
    ServerAddr,
};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout};

use super::BusError;
use super::limits::ANSWER_WITHIN;
use super::rights::Role;
use crate::breaker::{Guardian, Rules};

/// How long a part waits for the bus when it starts.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
const FIRST_DELAY: Duration = Duration::from_millis(20);
const LAST_DELAY: Duration = Duration::from_secs(1);
const MARGIN: Duration = Duration::from_millis(100);
const PING: Duration = Duration::from_secs(5);

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    /// Open while there is no connection, and when a server that is there gives no answers.
    pub(super) guardian: Arc<Guardian>,
    refusals: broadcast::Sender<String>,
    up: watch::Receiver<bool>,
}

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The identity lacks the right.
    Refused,
    /// Nobody serves the subject: no such stream or consumer.
    NoResponders,
    /// The server would not take it.
    TooLarge,
    /// No connection, or no answer in time.
    Silent(String),
}

impl Failure {
    /// As an error of what was tried: `what` for people, `missing` names what nobody serves.
    pub(super) fn into_error(self, what: &'static str, missing: &str) -> BusError {
        match self {
            Self::Refused => BusError::Forbidden(format!("{what} ({missing})")),
            Self::NoResponders => BusError::Missing(missing.to_owned()),
            Self::TooLarge => {
                BusError::Unavailable(what, "larger than the server takes".to_owned())
            }
            Self::Silent(why) => BusError::Unavailable(what, why),
        }
    }
}

impl Connection {
    /// Connects as `role`; waits up to 30 s for a server, and for a refused key not at all.
    pub(super) async fn open(
        url: &str,
        seed: Option<String>,
        role: &Role,
        name: &str,
    ) -> Result<Self, BusError> {
        let failed = |error: &dyn std::fmt::Display| {
            BusError::Unavailable("a connection", format!("{url}: {error}"))
        };
        let servers = url
            .split(',')
            .map(|one| ServerAddr::from_str(one.trim()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed(&error))?;
        let begun = Instant::now();
        let mut tries = 0;
        loop {
            let (refusals, _) = broadcast::channel(256);
            let (up_sender, up) = watch::channel(true);
            let guardian = Guardian::new(Rules::BUS);
            let ears = Ears {
                refusals: refusals.clone(),
                up: up_sender,
                guardian: guardian.clone(),
            };
            let options = options(seed.clone(), role, name, ears);
            let error = match options.connect(servers.clone()).await {
                Ok(client) => {
                    return Ok(Self {
                        client,
                        guardian,
                        refusals,
                        up,
                    });
                }
                Err(error) => error,
            };
            let refused = matches!(
                error.kind(),
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation
            );
            if refused {
                return Err(BusError::Forbidden(format!(
                    "to connect to {url} as {role}: {error}"
                )));
            }
            if begun.elapsed() >= CONNECT_WITHIN {
                return Err(failed(&error));
            }
            tries += 1;
            tracing::info!(%error, "waiting for the bus");
            tokio::time::sleep(delay(tries)).await;
        }
    }

    /// Tells when the connection goes down or comes up.
    pub(super) fn up(&self) -> watch::Receiver<bool> {
        self.up.clone()
    }

    pub(super) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Waits for the connection, as long as an answer would be waited for.
    pub(super) async fn wait_until_up(&self) -> Result<(), Failure> {
        let mut up = self.up.clone();
        match timeout(ANSWER_WITHIN, up.wait_for(|up| *up)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Failure::Silent("not connected".to_owned())),
        }
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn request(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        body: Vec<u8>,
    ) -> Result<Message, Failure> {
        self.wait_until_up().await?;
        let ticket = self.guardian.admit(Instant::now());
        let ticket =
            ticket.map_err(|_| Failure::Silent("it failed too often, waiting".to_owned()))?;
        let answered = self.ask(subject, headers, body).await;
        let silent = matches!(answered, Err(Failure::Silent(_)));
        ticket.report(Instant::now(), !silent);
        answered
    }

    async fn ask(
        &self,
        subject: &str,
        headers: Option<HeaderMap>,
        body: Vec<u8>,
    ) -> Result<Message, Failure> {
        let refused = self.refused(subject.to_owned());
        let mut request = Request::new()
            .payload(body.into())
            .timeout(Some(ANSWER_WITHIN));
        if let Some(headers) = headers {
            request = request.headers(headers);
        }
        let answered = tokio::select! {
            biased;
            answered = self.client.send_request(subject.to_owned(), request) => answered,
            () = refused => return Err(Failure::Refused),
            // The client limits the wait for an answer, not that for its own queue.
            () = tokio::time::sleep(ANSWER_WITHIN + MARGIN) => {
                return Err(Failure::Silent("not sent in time".to_owned()));
            }
        };
        answered.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Failure::NoResponders,
            RequestErrorKind::MaxPayloadExceeded => Failure::TooLarge,
            RequestErrorKind::TimedOut
            | RequestErrorKind::InvalidSubject
            | RequestErrorKind::Other => Failure::Silent(error.to_string()),
        })
    }

    /// Sends what nobody answers; done when it has left this process.
    pub(super) async fn tell(&self, subject: &str, body: Vec<u8>) -> Result<(), Failure> {
        self.wait_until_up().await?;
        let silent = |why: &dyn std::fmt::Display| Failure::Silent(why.to_string());
        let sent = async {
            let told = self.client.publish(subject.to_owned(), body.into()).await;
            told.map_err(|error| silent(&error))?;
            self.client.flush().await.map_err(|error| silent(&error))
        };
        timeout(ANSWER_WITHIN, sent)
            .await
            .unwrap_or_else(|_| Err(silent(&"not sent in time")))
    }

    /// Returns when the server refuses what names this subject; listens from the call on.
    pub(super) fn refused(&self, subject: String) -> impl Future<Output = ()> + Send + 'static {
        let mut refusals = self.refusals.subscribe();
        async move {
            loop {
                match refusals.recv().await {
                    Ok(refused) if refused == subject => return,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        }
    }
}

/// What is done with what the client tells of the connection.
struct Ears {
    refusals: broadcast::Sender<String>,
    up: watch::Sender<bool>,
    guardian: Arc<Guardian>,
}

fn options(seed: Option<String>, role: &Role, name: &str, ears: Ears) -> ConnectOptions {
    let options = ConnectOptions::new()
        .name(name)
        .custom_inbox_prefix(role.inbox())
        .connection_timeout(ANSWER_WITHIN)
        .request_timeout(Some(ANSWER_WITHIN))
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(delay)
        .event_callback(move |event| {
            ears.hear(&event);
            std::future::ready(())
        });
    match seed {
        Some(seed) => options.nkey(seed),
        None => options,
    }
}

/// Doubling from 20 ms to a second: a bus that is back is used at once.
fn delay(tries: usize) -> Duration {
    let doublings = u32::try_from(tries.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(10);
    FIRST_DELAY
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LAST_DELAY)
}

impl Ears {
    fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to the bus");
                // First the breaker: who waited for the connection asks at once.
                self.guardian.reached(Instant::now(), true);
                // Told at the first connection it would seem to have been lost.
                self.up.send_if_modified(|up| !std::mem::replace(up, true));
            }
            Event::Disconnected | Event::Closed => {
                tracing::warn!(%event, "lost the bus");
                self.guardian.reached(Instant::now(), false);
                self.up.send_replace(false);
            }
            Event::ServerError(error) => {
                let text = error.to_string();
                tracing::warn!(error = text, "the bus refused something");
                for subject in quoted(&text) {
                    // Nobody may be waiting for this one.
                    let _ = self.refusals.send(subject.to_owned());
                }
            }
            Event::LameDuckMode
            | Event::Draining
            | Event::SlowConsumer(_)
            | Event::ClientError(_) => {
                tracing::warn!(%event, "bus");
            }
        }
    }
}

/// What stands in double quotes: the subjects of a refusal.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_subjects() {
        let plain = "nats: Permissions Violation for Publish to \"sb.event.c.x\"";
        assert_eq!(quoted(plain).collect::<Vec<_>>(), ["sb.event.c.x"]);
        let reply = "Permissions Violation for Publish with Reply of \"_INBOX.a\" to \"b\"";
        assert_eq!(quoted(reply).collect::<Vec<_>>(), ["_INBOX.a", "b"]);
        assert_eq!(quoted("authorization violation").count(), 0);
    }

    #[test]
    fn reconnects_are_fast_and_never_wild() {
        assert_eq!(delay(1), FIRST_DELAY);
        assert!(delay(3) > delay(2));
        assert_eq!(delay(usize::MAX), LAST_DELAY);
    }
}
