//! Messages of the PostgreSQL protocol, as far as it takes to see statements and their ends.

use bytes::{Buf as _, Bytes, BytesMut};

/// Codes in the place of a protocol version.
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// The first message of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A session with this database.
    Session { database: String, raw: Bytes },
    /// A question whether encryption is offered.
    Encrypt,
    /// A request to cancel a statement of another connection.
    Cancel(Bytes),
}

/// Takes the first message; none: more bytes are needed.
pub(super) fn take_first(buffer: &mut BytesMut) -> Option<First> {
    let length = number(buffer, 0)?;
    let code = u32::try_from(number(buffer, 4)?).ok()?;
    if buffer.len() < length {
        return None;
    }
    let raw = buffer.split_to(length).freeze();
    Some(match code {
        TLS | GSS => First::Encrypt,
        CANCEL => First::Cancel(raw),
        _ => {
            let words: Vec<_> = raw
                .get(8..)
                .unwrap_or_default()
                .split(|byte| *byte == 0)
                .map(String::from_utf8_lossy)
                .collect();
            let database = words
                .chunks_exact(2)
                .find_map(|pair| match pair {
                    [name, value] if name == "database" => Some(value.to_string()),
                    _ => None,
                })
                .unwrap_or_default();
            First::Session { database, raw }
        }
    })
}

/// One message behind the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) raw: Bytes,
}

impl Message {
    /// The zero-terminated words that it begins with.
    pub(super) fn words<const N: usize>(&self) -> [String; N] {
        let mut rest = self.raw.slice(5..);
        std::array::from_fn(|_| {
            let end = rest
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(rest.len());
            let word = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
            rest.advance((end + 1).min(rest.len()));
            word
        })
    }
}

/// Takes the next whole message; none: more bytes are needed.
pub(super) fn take(buffer: &mut BytesMut) -> Option<Message> {
    let kind = *buffer.first()?;
    let length = number(buffer, 1)? + 1;
    if buffer.len() < length {
        return None;
    }
    let raw = buffer.split_to(length).freeze();
    Some(Message { kind, raw })
}

/// A query in the place of another one, which fails with this SQLSTATE. An administrator's command (57P01)
/// ends the session.
pub(super) fn raise(state: &str) -> Bytes {
    let sql = match state {
        "57P01" => "DO $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); \
                    PERFORM pg_sleep(9); END $$"
            .to_owned(),
        state => format!("DO $$ BEGIN RAISE 'by plan' USING ERRCODE = '{state}'; END $$"),
    };
    message(b'Q', &[sql.as_bytes(), b"\0"])
}

/// The refusal of a session.
pub(super) fn fatal(state: &str) -> Bytes {
    let fields = format!("SFATAL\0VFATAL\0C{state}\0Mby plan\0\0");
    message(b'E', &[fields.as_bytes()])
}

fn message(kind: u8, parts: &[&[u8]]) -> Bytes {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[kind], length.to_be_bytes().as_slice(), &body]
        .concat()
        .into()
}

fn number(buffer: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = buffer.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_at_any_byte() {
        let mut text = Vec::new();
        text.extend_from_slice(&[0, 0, 0, 21, 0, 3, 0, 0]);
        text.extend_from_slice(b"database\0a\0\0");
        // The length counts itself and the last zero.
        text[3] = u8::try_from(text.len()).unwrap();
        text.extend_from_slice(&[b'P', 0, 0, 0, 10]);
        text.extend_from_slice(b"s\0hi\0\0");
        let mut buffer = BytesMut::new();
        let (mut first, mut messages) = (None, Vec::new());
        for byte in text {
            buffer.extend_from_slice(&[byte]);
            if first.is_none() {
                first = take_first(&mut buffer);
            } else {
                messages.extend(take(&mut buffer));
            }
        }
        assert!(buffer.is_empty());
        assert!(matches!(first, Some(First::Session { database, .. }) if database == "a"));
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].kind, b'P');
        assert_eq!(messages[0].words::<2>(), ["s", "hi"]);
    }
}
