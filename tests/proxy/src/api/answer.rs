//! Answers that the proxy gives in the API server's place, and bodies of answers that it passes on.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use tokio::sync::mpsc;

use crate::director::Director;

/// A body that is there, or one that comes in pieces.
pub(super) enum Answer {
    /// All of it; who is named dies when it was handed over.
    Whole(Option<Bytes>, Option<Arc<Director>>),
    /// As the server sends it.
    Pieces(mpsc::UnboundedReceiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes, doomed) => {
                if let Some(director) = doomed.take() {
                    director.doom();
                }
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Pieces(pieces) => pieces
                .poll_recv(context)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes, doomed) => bytes.is_none() && doomed.is_none(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes, _) => SizeHint::with_exact(
                bytes
                    .as_ref()
                    .map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            ),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A refusal as the API server words it.
pub(super) fn refusal(code: u16, retry_after: Option<u64>) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(status(code).into()), None));
    if let Ok(code) = code.try_into() {
        *response.status_mut() = code;
    }
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = retry_after {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// `Status` with this code.
pub(super) fn status(code: u16) -> String {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"by plan","reason":"{reason}","code":{code}}}"#
    )
}
