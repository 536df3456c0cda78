//! The end of a part: SIGTERM and SIGINT become one token.
//!
//! Decides nothing about how a part ends; a second signal is left to the system's patience.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by SIGTERM or SIGINT. Needs a running tokio runtime.
#[must_use]
pub fn token() -> CancellationToken {
    let token = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        match signal(kind) {
            Ok(mut stream) => {
                let token = token.clone();
                tokio::spawn(async move {
                    if stream.recv().await.is_some() {
                        tracing::info!(signal = kind.as_raw_value(), "asked to end");
                        token.cancel();
                    }
                });
            }
            Err(error) => tracing::error!(%error, "failed to listen for a signal"),
        }
    }
    token
}
