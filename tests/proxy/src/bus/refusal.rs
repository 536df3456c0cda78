//! Refusals that the proxy gives in the server's place, in the server's words.

use bytes::Bytes;

use crate::fault::Rejection;

/// Subjects that the part listens to, with the ids that it hears them under.
#[derive(Default)]
pub(super) struct Subscriptions {
    all: Vec<(String, String)>,
}

/// As many are remembered: each fetch of messages makes one.
const MOST: usize = 256;

impl Subscriptions {
    pub(super) fn add(&mut self, subject: String, id: String) {
        if self.all.len() >= MOST {
            // The first is that of all answers.
            self.all.remove(1);
        }
        self.all.push((subject, id));
    }

    fn id_of(&self, subject: &str) -> Option<&str> {
        let found = self.all.iter().find(|(pattern, _)| hears(pattern, subject));
        found.map(|(_, id)| id.as_str())
    }

    /// What the part is told; none: it waits for no answer.
    pub(super) fn refuse(
        &self,
        rejection: Rejection,
        subject: &str,
        reply: Option<String>,
    ) -> Option<Bytes> {
        let (code, number, words) = match rejection {
            Rejection::Permission => {
                let violation = reply.map_or_else(
                    || format!("Publish to \"{subject}\""),
                    |reply| format!("Publish with Reply of \"{reply}\" to \"{subject}\""),
                );
                return Some(format!("-ERR 'Permissions Violation for {violation}'\r\n").into());
            }
            Rejection::NoResponders => {
                let reply = reply?;
                let head = "NATS/1.0 503\r\n\r\n";
                let (id, length) = (self.id_of(&reply)?, head.len());
                return Some(format!("HMSG {reply} {id} {length} {length}\r\n{head}\r\n").into());
            }
            Rejection::Full => (503, 10077, "maximum messages exceeded"),
            Rejection::Occupied => (503, 10077, "maximum messages per subject exceeded"),
            Rejection::NoStore => (503, 10023, "insufficient resources"),
        };
        let reply = reply?;
        let id = self.id_of(&reply)?;
        let body = format!(
            r#"{{"error":{{"code":{code},"err_code":{number},"description":"{words}"}},"stream":"","seq":0}}"#
        );
        Some(format!("MSG {reply} {id} {}\r\n{body}\r\n", body.len()).into())
    }
}

/// Whether who listens to `pattern` hears what comes on `subject`.
fn hears(pattern: &str, subject: &str) -> bool {
    let (mut words, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (words.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(word), Some(token)) if word == "*" || word == token => {}
            (_, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_under_the_id_of_who_waits() {
        let mut listens = Subscriptions::default();
        listens.add("_INBOX_x.a.*".to_owned(), "1".to_owned());
        for number in 0..2 * MOST {
            listens.add(format!("_INBOX_x.{number}"), number.to_string());
        }
        let told = |rejection, reply: Option<&str>| {
            let told = listens.refuse(rejection, "sb.plan.a", reply.map(str::to_owned));
            told.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
        };
        let full = told(Rejection::Full, Some("_INBOX_x.a.7")).unwrap();
        assert!(full.starts_with("MSG _INBOX_x.a.7 1 "), "{full}");
        assert!(full.contains("10077"));
        let nobody = told(Rejection::NoResponders, Some("_INBOX_x.a.7")).unwrap();
        assert!(nobody.starts_with("HMSG _INBOX_x.a.7 1 16 16\r\nNATS/1.0 503\r\n"));
        assert_eq!(told(Rejection::Full, None), None);
        assert_eq!(told(Rejection::Full, Some("_INBOX_x.b.7")), None);
        assert!(
            told(Rejection::Permission, None)
                .unwrap()
                .contains("\"sb.plan.a\"")
        );
    }
}
