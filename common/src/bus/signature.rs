//! Signatures of messages: the bus is no authority, so a reader asks who wrote.
//!
//! Decides what is signed and what a signature is worth. The keys are not those of the connections: a server
//! that lets its clients sign nonces must not get a message signed that way. Never reads a file or a clock.

use std::collections::BTreeMap;

use jiff::Timestamp;
use nkeys::KeyPair;

use super::BusError;
use super::rights::{Role, new_identity};
use crate::digest;
use crate::subject::Stream;

/// Header with the signer's public key and the signature, in hex.
pub const SIGNATURE: &str = "sb-signature";
/// A message signed longer ago is refused: whoever kept it that long replays it.
pub const VALID_FOR: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
/// What is signed begins with this, and with nothing else that these keys ever sign.
const DOMAIN: &str = "signalbox.dev/message/1";

/// Roles that sign what they write.
const SIGNERS: [Role; 3] = [Role::Watcher, Role::Planner, Role::Executor];

/// A key for each role that signs.
pub struct SigningKeys {
    /// Seeds by role.
    pub seeds: Vec<(Role, String)>,
    /// Their public keys, as [`Trusted::parse`] reads them.
    pub trusted: String,
}

/// Makes a key for each role that signs.
pub fn new_keys() -> Result<SigningKeys, BusError> {
    let (mut seeds, mut trusted) = (Vec::new(), Vec::new());
    for role in SIGNERS {
        let (seed, public) = new_identity()?;
        trusted.push(format!("{role} {public}\n"));
        seeds.push((role, seed));
    }
    let trusted = trusted.concat();
    Ok(SigningKeys { seeds, trusted })
}

/// Roles whose signature counts in a stream; none: its messages are not signed.
#[must_use]
pub const fn writers(stream: Stream) -> &'static [Role] {
    match stream {
        Stream::Events => &[Role::Watcher],
        Stream::Plans => &[Role::Planner],
        Stream::Outcomes => &[Role::Planner, Role::Executor],
        Stream::Triggers | Stream::Ledger | Stream::Dead => &[],
    }
}

/// Public keys that are trusted, each for one role; several of a role are valid side by side.
#[derive(Clone, Debug, Default)]
pub struct Trusted(Vec<TrustedKey>);

/// A key that is trusted: read once, for it is asked for with every message.
#[derive(Clone, Debug)]
struct TrustedKey {
    role: Role,
    public: String,
    pair: KeyPair,
}

impl Trusted {
    /// Reads lines of `<role> <public key>`; empty ones and those after a `#` are left out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let read = |(at, line): (usize, &str)| {
            let wrong = |why: &str| format!("line {}: {why}: `{line}`", at + 1);
            let (role, key) = line
                .split_once(char::is_whitespace)
                .ok_or_else(|| wrong("write `<role> <public key>`"))?;
            let role = SIGNERS
                .into_iter()
                .find(|known| known.label() == role)
                .ok_or_else(|| wrong("the role is watcher, planner or executor"))?;
            let public = key.trim().to_owned();
            let pair = KeyPair::from_public_key(&public);
            let pair = pair.map_err(|error| wrong(&error.to_string()))?;
            Ok(TrustedKey { role, public, pair })
        };
        lines.map(read).collect::<Result<_, String>>().map(Self)
    }

    /// Whose message it is; an error says why it is nobody's.
    pub fn verify(
        &self,
        stream: Stream,
        subject: &str,
        headers: &BTreeMap<String, String>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Role, Refusal> {
        let (key, signature) = headers
            .get(SIGNATURE)
            .and_then(|text| text.split_once('.'))
            .ok_or(Refusal::Unsigned)?;
        let known = self
            .0
            .iter()
            .find(|known| known.public == key && writers(stream).contains(&known.role))
            .ok_or_else(|| Refusal::Untrusted(key.chars().take(64).collect()))?;
        let signature = unhex(signature).ok_or(Refusal::Forged)?;
        known
            .pair
            .verify(&signed(subject, headers, body), &signature)
            .map_err(|_| Refusal::Forged)?;
        let age = headers
            .get("ce-time")
            .and_then(|time| time.parse::<Timestamp>().ok())
            .map(|time| now.duration_since(time))
            .ok_or(Refusal::Forged)?;
        if age > VALID_FOR {
            return Err(Refusal::Old(age.as_secs()));
        }
        Ok(known.role.clone())
    }
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// The key is not trusted for this stream.
    #[error("the key {0} is not trusted to write it")]
    Untrusted(String),
    /// Subject, id, time or body are not what was signed.
    #[error("its signature does not hold")]
    Forged,
    /// It was signed too long ago.
    #[error("it was signed {0} s ago")]
    Old(i64),
    /// The same message was taken from another place of the stream.
    #[error("it was taken before")]
    Replayed,
}

impl Refusal {
    /// The word for metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Untrusted(_) => "untrusted",
            Self::Forged => "forged",
            Self::Old(_) => "old",
            Self::Replayed => "replayed",
        }
    }
}

/// The signature's header for a message.
pub fn sign(
    pair: &KeyPair,
    subject: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> Result<String, String> {
    let signature = pair
        .sign(&signed(subject, headers, body))
        .map_err(|error| format!("failed to sign: {error}"))?;
    Ok(format!("{}.{}", pair.public_key(), digest::hex(&signature)))
}

/// What is signed: subject, id, time and the body's hash; the body holds its schema.
fn signed(subject: &str, headers: &BTreeMap<String, String>, body: &[u8]) -> Vec<u8> {
    let header = |name: &str| headers.get(name).map_or("", String::as_str);
    [
        DOMAIN,
        subject,
        header("ce-id"),
        header("ce-time"),
        &digest::sha256_hex(body),
    ]
    .join("\n")
    .into_bytes()
}

/// In lower case only: one signature has one text.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? * 16 + digit(low)?),
        _ => None,
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = "sb.plan.c.PortfolioApp.team.web";

    fn now() -> Timestamp {
        "2026-01-01T00:05:00Z".parse().unwrap()
    }

    fn headers(pair: &KeyPair, body: &[u8]) -> BTreeMap<String, String> {
        let mut headers = BTreeMap::from([
            ("ce-id".to_owned(), "1/plan".to_owned()),
            ("ce-time".to_owned(), "2026-01-01T00:00:00Z".to_owned()),
        ]);
        let signature = sign(pair, SUBJECT, &headers, body).unwrap();
        headers.insert(SIGNATURE.to_owned(), signature);
        headers
    }

    fn trusted(role: &str, pair: &KeyPair) -> Trusted {
        Trusted::parse(&format!("# keys\n\n{role} {}\n", pair.public_key())).unwrap()
    }

    #[test]
    fn what_was_signed_is_known_and_anything_else_is_refused() {
        let (planner, other) = (KeyPair::new_user(), KeyPair::new_user());
        let trusted = trusted("planner", &planner);
        let body = br#"{"schema":1}"#;
        let good = headers(&planner, body);
        let verify = |headers: &BTreeMap<String, String>, subject: &str, body: &[u8]| {
            trusted.verify(Stream::Plans, subject, headers, body, now())
        };
        assert_eq!(verify(&good, SUBJECT, body), Ok(Role::Planner));
        assert_eq!(verify(&good, SUBJECT, b"{}"), Err(Refusal::Forged));
        assert_eq!(
            verify(&good, "sb.plan.c.PortfolioApp.team.api", body),
            Err(Refusal::Forged)
        );
        for name in ["ce-id", "ce-time"] {
            let mut changed = good.clone();
            changed.insert(name.to_owned(), "2026-01-01T00:04:00Z".to_owned());
            assert_eq!(
                verify(&changed, SUBJECT, body),
                Err(Refusal::Forged),
                "{name}"
            );
        }
        let strange = headers(&other, body);
        let refused = verify(&strange, SUBJECT, body);
        assert_eq!(refused, Err(Refusal::Untrusted(other.public_key())));
        // A stranger's signature under a trusted key's name.
        let mut stolen = good.clone();
        let (_, signature) = strange[SIGNATURE].split_once('.').unwrap();
        let claimed = format!("{}.{signature}", planner.public_key());
        stolen.insert(SIGNATURE.to_owned(), claimed);
        assert_eq!(verify(&stolen, SUBJECT, body), Err(Refusal::Forged));
        // The same signature in another spelling would pass for another message.
        let (key, signature) = good[SIGNATURE].split_once('.').unwrap();
        for other in [signature.to_uppercase(), format!("{signature}0")] {
            let mut spelled = good.clone();
            spelled.insert(SIGNATURE.to_owned(), format!("{key}.{other}"));
            assert_eq!(verify(&spelled, SUBJECT, body), Err(Refusal::Forged));
        }
        let mut bare = good.clone();
        bare.remove(SIGNATURE);
        assert_eq!(verify(&bare, SUBJECT, body), Err(Refusal::Unsigned));
    }

    #[test]
    fn a_key_is_trusted_for_the_streams_of_its_role_only_and_for_a_while() {
        let pair = KeyPair::new_user();
        let body = b"{}";
        let signed = headers(&pair, body);
        let verify = |role: &str, stream: Stream, now: Timestamp| {
            trusted(role, &pair).verify(stream, SUBJECT, &signed, body, now)
        };
        assert!(verify("planner", Stream::Outcomes, now()).is_ok());
        assert!(verify("planner", Stream::Events, now()).is_err());
        assert!(verify("executor", Stream::Plans, now()).is_err());
        let late = now() + jiff::SignedDuration::from_mins(6);
        assert_eq!(
            verify("planner", Stream::Plans, late),
            Err(Refusal::Old(660))
        );
    }

    #[test]
    fn a_wrong_line_of_keys_is_named() {
        for (text, why) in [
            ("planner", "write `<role> <public key>`"),
            ("\nreader UAAA", "line 2: the role is"),
            ("planner UAAA", "line 1"),
        ] {
            let error = Trusted::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
