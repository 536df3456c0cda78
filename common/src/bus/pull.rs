//! Taking from a work queue: whoever fetches is served from one request, which stays open while it has places.
//!
//! One task for each stream owns the request and its inbox. A request ends with the wait of the fetch that made
//! it, so nothing is delivered once nobody fetches any more; what comes in between two fetches is kept for the
//! next one, and given back if there is none. Takes the durable consumer as it is.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Subscriber;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::connection::Connection;
use super::deliveries::{Step, read};
use super::{BusError, Delivery};
use crate::subject::Stream;

/// How much later than asked for the server may end a request.
const GRACE: Duration = Duration::from_secs(1);
/// What was delivered behind a fetch waits this long for the next one.
const KEPT: Duration = Duration::from_millis(500);

/// What the task of a stream is asked.
pub(super) enum Wish {
    Take(Fetch),
    /// Nothing more; answered when everything that nobody took is given back.
    Leave(oneshot::Sender<()>),
}

/// At most so many messages, or none once it is time.
pub(super) struct Fetch {
    pub(super) max: usize,
    pub(super) until: Instant,
    pub(super) answer: oneshot::Sender<Result<Vec<Delivery>, BusError>>,
}

/// A request of which the server may still deliver.
struct Request {
    /// Where its end is told.
    reply: String,
    left: usize,
    ends: Instant,
    refused: BoxFuture<'static, ()>,
    up: watch::Receiver<bool>,
}

struct Inbox {
    subscriber: Subscriber,
    /// Subject before the number of a request.
    prefix: String,
    /// Requests so far.
    asked: u64,
}

/// What happens next.
enum News {
    Wish(Option<Wish>),
    Message(Option<async_nats::Message>),
    /// The first fetch has waited long enough.
    Late,
    /// What is kept has.
    Unkept,
    /// The caller of the first fetch went away.
    Unwanted,
    Refused,
    /// The connection went down, or was down.
    Interrupted,
    /// The server should have ended the request by now.
    Silent,
}

/// The task of one stream.
struct Pull {
    connection: Connection,
    stream: Stream,
    /// Subject of requests.
    subject: String,
    waiting: VecDeque<Fetch>,
    kept: VecDeque<Delivery>,
    kept_until: Instant,
    inbox: Option<Inbox>,
    request: Option<Request>,
}

/// Serves the fetches of a stream until nobody can ask any more.
pub(super) async fn serve(
    connection: Connection,
    stream: Stream,
    consumer: &'static str,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
) {
    let mut pull = Pull {
        connection,
        stream,
        subject: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", stream.name()),
        waiting: VecDeque::new(),
        kept: VecDeque::new(),
        kept_until: Instant::now(),
        inbox: None,
        request: None,
    };
    loop {
        pull.hand_out();
        pull.let_go();
        if pull.request.is_none()
            && let Some((max, until)) = pull.first()
            && let Err(error) = pull.ask(max, until).await
        {
            pull.fail(&error);
        }
        match pull.news(&mut wishes).await {
            News::Wish(None) => return pull.leave().await,
            News::Wish(Some(Wish::Take(fetch))) => pull.waiting.push_back(fetch),
            News::Wish(Some(Wish::Leave(answer))) => {
                pull.leave().await;
                // Who asked may not wait for it.
                let _ = answer.send(());
            }
            News::Message(message) => {
                pull.message(message);
                pull.burst();
            }
            News::Late => {}
            News::Unkept | News::Unwanted => pull.leave().await,
            News::Refused => {
                let what = format!("to take from {}", stream.name());
                pull.fail(&BusError::Forbidden(what));
            }
            News::Interrupted => pull.interrupted(),
            News::Silent => pull.fail(&unavailable("no answer in time")),
        }
    }
}

impl Pull {
    /// What the first fetch that waits asks for.
    fn first(&self) -> Option<(usize, Instant)> {
        let first = self.waiting.front()?;
        Some((first.max, first.until))
    }

    async fn news(&mut self, wishes: &mut mpsc::UnboundedReceiver<Wish>) -> News {
        let first = self.waiting.front();
        let late = first.filter(|first| self.is_own_end(first));
        let late = late.map(|first| first.until);
        let held = !self.kept.is_empty() || self.request.is_some();
        let unkept = (first.is_none() && held).then_some(self.kept_until);
        let (unwanted, message) = (self.waiting.front_mut(), self.inbox.as_mut());
        let (refused, up, silent) = match &mut self.request {
            Some(request) => (
                Some(&mut request.refused),
                Some(&mut request.up),
                Some(request.ends + GRACE),
            ),
            None => (None, None, None),
        };
        tokio::select! {
            biased;
            () = if_some(refused, |refused| refused) => News::Refused,
            message = if_some(message, |inbox| inbox.subscriber.next()) => News::Message(message),
            // An error: the connection is gone for good, and every call says so.
            _ = if_some(up, watch::Receiver::changed) => News::Interrupted,
            wish = wishes.recv() => News::Wish(wish),
            () = if_some(unwanted, |first| first.answer.closed()) => News::Unwanted,
            () = if_some(late, sleep_until) => News::Late,
            () = if_some(unkept, sleep_until) => News::Unkept,
            () = if_some(silent, sleep_until) => News::Silent,
        }
    }

    /// Gives what is there to who waits.
    fn hand_out(&mut self) {
        while !self.kept.is_empty() {
            let Some(first) = self.waiting.pop_front() else {
                return;
            };
            let count = first.max.min(self.kept.len());
            let taken = self.kept.drain(..count).collect();
            self.kept_until = Instant::now() + KEPT;
            if let Err(Ok(unwanted)) = first.answer.send(Ok(taken)) {
                for delivery in unwanted.into_iter().rev() {
                    self.kept.push_front(delivery);
                }
            }
        }
    }

    async fn ask(&mut self, max: usize, until: Instant) -> Result<(), BusError> {
        let up = self.connection.wait_until_up().await;
        up.map_err(|failure| failure.into_error("a fetch", self.stream.name()))?;
        let mut up = self.connection.up();
        up.mark_unchanged();
        let refused = self.connection.refused(self.subject.clone()).boxed();
        let client = self.connection.client.clone();
        let inbox = match self.inbox.take() {
            Some(inbox) => inbox,
            None => Inbox::open(&client).await?,
        };
        let inbox = self.inbox.insert(inbox);
        inbox.asked += 1;
        let reply = format!("{}.{}", inbox.prefix, inbox.asked);
        // At least a moment: the server takes 0 for no end at all.
        let expires = until
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        let body = format!(r#"{{"batch":{max},"expires":{}}}"#, expires.as_nanos());
        let subject = self.subject.clone();
        let sent = client.publish_with_reply(subject, reply.clone(), body.into());
        sent.await
            .map_err(|error| unavailable(&error.to_string()))?;
        self.request = Some(Request {
            reply,
            left: max,
            ends: until,
            refused,
            up,
        });
        Ok(())
    }

    /// What has come with it.
    fn burst(&mut self) {
        while let Some(inbox) = &mut self.inbox
            && let Some(message) = inbox.subscriber.next().now_or_never()
        {
            self.message(message);
        }
    }

    fn message(&mut self, message: Option<async_nats::Message>) {
        let Some(message) = message else {
            self.inbox = None;
            return self.fail(&unavailable("lost the subscription"));
        };
        let open = self.request.as_ref();
        let is_own = open.is_some_and(|request| request.reply == message.subject.as_str());
        match read(&self.connection, self.stream, message) {
            Ok(Step::Delivered(delivery)) => {
                self.kept.push_back(*delivery);
                self.kept_until = Instant::now() + KEPT;
                if let Some(request) = &mut self.request {
                    request.left = request.left.saturating_sub(1);
                }
                if self.request.as_ref().is_some_and(|open| open.left == 0) {
                    self.request = None;
                }
            }
            // Of an earlier request; or nothing to take.
            Ok(Step::Ended) if is_own => self.request = None,
            Ok(Step::Ended | Step::Nothing) => {}
            Err(error) => self.fail(&error),
        }
    }

    /// Whether a fetch ends by itself: that of the request waits until the server has told its end, or is silent.
    fn is_own_end(&self, waiting: &Fetch) -> bool {
        let request = self.request.as_ref();
        request.is_none_or(|request| waiting.until < request.ends)
    }

    /// Whoever has waited long enough goes without.
    fn let_go(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.waiting.front()
            && first.until <= now
            && self.is_own_end(first)
            && let Some(first) = self.waiting.pop_front()
        {
            // Nobody may be waiting any more.
            let _ = first.answer.send(Ok(Vec::new()));
            self.kept_until = now + KEPT;
        }
    }

    /// Whoever waits is told. What the server may still deliver for the request has no inbox any more.
    fn fail(&mut self, error: &BusError) {
        for waiting in self.waiting.drain(..) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        self.request = None;
        self.inbox = None;
    }

    /// Requests end with their connection, inboxes outlive it. Only who meets one that is down is told.
    fn interrupted(&mut self) {
        if self.connection.is_up() {
            self.request = None;
        } else {
            self.fail(&unavailable("lost the connection"));
        }
    }

    /// Takes nothing more, and gives back what nobody took.
    async fn leave(&mut self) {
        self.request = None;
        if let Some(mut inbox) = self.inbox.take() {
            // What is on its way still comes. A lost connection ends the subscription by itself.
            let _ = inbox.subscriber.drain().await;
            let end = Instant::now() + GRACE;
            while let Ok(Some(message)) = timeout_at(end, inbox.subscriber.next()).await {
                if let Ok(Step::Delivered(delivery)) = read(&self.connection, self.stream, message)
                {
                    self.kept.push_back(*delivery);
                }
            }
        }
        let unwanted: Vec<Delivery> = self.kept.drain(..).collect();
        // Else they come again after the ack wait.
        join_all(unwanted.iter().map(|delivery| delivery.acker.nak())).await;
        self.waiting.retain(|first| !first.answer.is_closed());
    }
}

impl Inbox {
    async fn open(client: &async_nats::Client) -> Result<Self, BusError> {
        let prefix = client.new_inbox();
        let subscriber = client.subscribe(format!("{prefix}.*")).await;
        Ok(Self {
            subscriber: subscriber.map_err(|error| unavailable(&error.to_string()))?,
            prefix,
            asked: 0,
        })
    }
}

/// What comes of it, if it is there; else never anything.
async fn if_some<T, F: Future>(it: Option<T>, then: impl FnOnce(T) -> F) -> F::Output {
    match it {
        Some(it) => then(it).await,
        None => std::future::pending().await,
    }
}

pub(super) fn unavailable(why: &str) -> BusError {
    BusError::Unavailable("a fetch", why.to_owned())
}
