//! Frames of the NATS client protocol, as far as it takes to see publishes and deliveries.

use bytes::{Bytes, BytesMut};

/// One frame, with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// PUB, HPUB, MSG or HMSG.
    Message {
        subject: String,
        reply: Option<String>,
        /// Payload without headers.
        body: Bytes,
        raw: Bytes,
    },
    /// SUB: what comes on these subjects comes under this id.
    Subscribe {
        subject: String,
        id: String,
        raw: Bytes,
    },
    /// Anything else.
    Other(Bytes),
}

/// Takes the next whole frame out of `buffer`; none: more bytes are needed.
pub(super) fn take(buffer: &mut BytesMut) -> Option<Frame> {
    let end = buffer.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let line = String::from_utf8_lossy(buffer.get(..end - 2)?).into_owned();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (subject, reply, headers, total) = match words.as_slice() {
        ["PUB", subject, total] | ["MSG", subject, _, total] => (subject, None, "0", total),
        ["PUB", subject, reply, total] | ["MSG", subject, _, reply, total] => {
            (subject, Some(reply), "0", total)
        }
        ["HPUB", subject, headers, total] | ["HMSG", subject, _, headers, total] => {
            (subject, None, *headers, total)
        }
        ["HPUB", subject, reply, headers, total] | ["HMSG", subject, _, reply, headers, total] => {
            (subject, Some(reply), *headers, total)
        }
        ["SUB", subject, id] | ["SUB", subject, _, id] => {
            return Some(Frame::Subscribe {
                subject: (*subject).to_owned(),
                id: (*id).to_owned(),
                raw: buffer.split_to(end).freeze(),
            });
        }
        _ => return Some(Frame::Other(buffer.split_to(end).freeze())),
    };
    let (headers, total): (usize, usize) = (headers.parse().ok()?, total.parse().ok()?);
    let (subject, reply) = (
        (*subject).to_owned(),
        reply.map(|reply| (*reply).to_owned()),
    );
    if buffer.len() < end + total + 2 {
        return None;
    }
    let raw = buffer.split_to(end + total + 2).freeze();
    let body = raw.slice(end + headers.min(total)..end + total);
    Some(Frame::Message {
        subject,
        reply,
        body,
        raw,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_at_any_byte() {
        let text = "SUB r.* 7\r\nPING\r\nPUB a 2\r\nhi\r\nHPUB a r 12 14\r\nNATS/1.0\r\n\r\nho\r\nMSG s 1 ack 0\r\n\r\n";
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in text.bytes() {
            buffer.extend_from_slice(&[byte]);
            frames.extend(take(&mut buffer));
        }
        assert!(buffer.is_empty());
        let seen: Vec<_> = frames
            .iter()
            .map(|frame| match frame {
                Frame::Message {
                    subject,
                    reply,
                    body,
                    ..
                } => format!("{subject} {reply:?} {}", String::from_utf8_lossy(body)),
                Frame::Subscribe { subject, id, .. } => format!("{subject} is {id}"),
                Frame::Other(raw) => String::from_utf8_lossy(raw).into_owned(),
            })
            .collect();
        assert_eq!(
            seen,
            [
                "r.* is 7",
                "PING\r\n",
                "a None hi",
                "a Some(\"r\") ho",
                "s Some(\"ack\") "
            ]
        );
    }
}
