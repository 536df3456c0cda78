//! Sending with patience: what the bus does not take at once is sent again while the delivery is ours.
//!
//! Decides how long a refusal is borne; never what is sent.

use std::time::Duration;

use signalbox_common::bus::heartbeat::Hold;
use signalbox_common::bus::{Message, PublishError, SharedBus};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::metrics::Counts;

/// Pause before the second try; doubled up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(20);
/// Longest pause between tries.
const LONGEST: Duration = Duration::from_millis(500);
/// How long the place of a Plan may be taken by the object's former one.
const BUSY_AFTER: Duration = Duration::from_millis(200);

/// Why a message was not stored in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// No longer ours, or the part ends: somebody else goes on.
    GivenUp,
    /// Its place is still taken.
    Busy,
    /// It will never be taken.
    Refused(String),
}

/// Sends messages that belong to one delivery.
pub(super) struct Post<'a> {
    pub(super) bus: &'a SharedBus,
    pub(super) hold: &'a Hold,
    pub(super) stop: &'a CancellationToken,
    pub(super) counts: &'a Counts,
    /// The delivery is not the first: an earlier holder may have sent the same messages.
    pub(super) again: bool,
}

impl Post<'_> {
    /// Sends a message until it is stored: records, and Outcomes whose place is still taken.
    pub(super) async fn until_stored(&self, message: &Message) -> Result<(), Unsent> {
        let mut pause = FIRST;
        loop {
            match self.once(message).await? {
                None => return Ok(()),
                Some(error) => {
                    self.note(message, &error);
                    self.pause(&error, &mut pause).await?;
                }
            }
        }
    }

    /// Sends a Plan; [`Unsent::Busy`] if the object's former one keeps its place.
    pub(super) async fn plan(&self, message: &Message) -> Result<(), Unsent> {
        let begun = Instant::now();
        let mut pause = FIRST;
        let mut perhaps_sent = self.again;
        loop {
            match self.once(message).await? {
                None => return Ok(()),
                Some(PublishError::Occupied(_) | PublishError::Full(_))
                    if begun.elapsed() >= BUSY_AFTER =>
                {
                    // What holds the place may be this very Plan. If not, the flight is found nowhere and
                    // the object is observed anew.
                    return if perhaps_sent {
                        Ok(())
                    } else {
                        Err(Unsent::Busy)
                    };
                }
                Some(error) => {
                    perhaps_sent |= matches!(error, PublishError::Unknown(..));
                    self.note(message, &error);
                    self.pause(&error, &mut pause).await?;
                }
            }
        }
    }

    /// One try: none if it is stored, the refusal if another try makes sense.
    async fn once(&self, message: &Message) -> Result<Option<PublishError>, Unsent> {
        if self.hold.is_lost() {
            return Err(Unsent::GivenUp);
        }
        match self.bus.publish(message.clone()).await {
            Ok(_) => Ok(None),
            Err(error @ PublishError::TooLarge { .. }) => Err(Unsent::Refused(error.to_string())),
            Err(
                error @ (PublishError::Occupied(_)
                | PublishError::Full(_)
                | PublishError::Unknown(..)
                | PublishError::Forbidden(_)),
            ) => Ok(Some(error)),
        }
    }

    /// Longer each time, and at once the longest when the budget of retries is used up. A place that is
    /// still taken costs no retry: it becomes free.
    async fn pause(&self, error: &PublishError, pause: &mut Duration) -> Result<(), Unsent> {
        let taken = matches!(error, PublishError::Occupied(_) | PublishError::Full(_));
        if !taken && !self.bus.may_retry() {
            *pause = LONGEST;
        }
        tokio::select! {
            biased;
            () = sleep(*pause) => {}
            () = self.stop.cancelled() => return Err(Unsent::GivenUp),
        }
        *pause = pause.saturating_mul(2).min(LONGEST);
        Ok(())
    }

    fn note(&self, message: &Message, error: &PublishError) {
        self.counts
            .retries
            .with_label_values(&[message.stream.name()])
            .inc();
        match error {
            PublishError::Occupied(_) | PublishError::Full(_) => {
                tracing::debug!(%error, "the place is taken");
            }
            PublishError::Unknown(..)
            | PublishError::Forbidden(_)
            | PublishError::TooLarge { .. } => {
                tracing::warn!(%error, "failed to send");
            }
        }
    }
}
