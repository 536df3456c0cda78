//! Who may do what on the bus: one table, from which the server's configuration is written.
//!
//! Each role has an nkey of its own. What is not in the table is refused by the server. Never decides a
//! limit: those stand in [`super::limits`].

use std::fmt;
use std::fmt::Write as _;

use nkeys::KeyPair;

use super::BusError;
use crate::subject::{Stream, escape};

/// Who speaks on the bus.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Publishes Events; consumes OUTCOMES and TRIGGERS.
    Watcher,
    /// Publishes Plans and Outcomes; consumes EVENTS.
    Planner,
    /// Publishes Outcomes; consumes PLANS.
    Executor,
    /// Makes streams and consumers; reads and writes no message.
    Ensure,
    /// Reads LEDGER, DEAD and the state of the streams; stores nothing.
    Reader,
    /// Publishes the triggers of one tenant, and waits for answers.
    Trigger {
        /// The tenant.
        tenant: String,
    },
}

/// Subjects that a role may publish and subscribe to; everything else is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Subjects that it may publish to.
    pub publish: Vec<String>,
    /// Subjects that it may subscribe to.
    pub subscribe: Vec<String>,
}

impl Role {
    /// The roles of the operator's own parts and people.
    pub const OWN: [Self; 5] = [
        Self::Watcher,
        Self::Planner,
        Self::Executor,
        Self::Ensure,
        Self::Reader,
    ];

    /// The word for names and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Watcher => "watcher",
            Self::Planner => "planner",
            Self::Executor => "executor",
            Self::Ensure => "ensure",
            Self::Reader => "reader",
            Self::Trigger { .. } => "trigger",
        }
    }

    /// Prefix of the subjects on which it gets answers: nobody else may listen there.
    #[must_use]
    pub fn inbox(&self) -> String {
        match self {
            Self::Watcher | Self::Planner | Self::Executor | Self::Ensure | Self::Reader => {
                format!("_INBOX_{}", self.label())
            }
            // Answers of the watcher go to `_INBOX_trigger.>`; each tenant listens to its own.
            Self::Trigger { tenant } => format!("_INBOX_trigger.{}", escape(tenant)),
        }
    }

    /// What it may do.
    #[must_use]
    pub fn rights(&self) -> Rights {
        let mut publish = match self {
            Self::Watcher => {
                let mut list = stores(&[Stream::Events, Stream::Ledger, Stream::Dead]);
                list.extend(consumes(Stream::Outcomes));
                list.extend(consumes(Stream::Triggers));
                list.extend(Stream::FLIGHTS.map(info));
                // Answers to those who sent a trigger.
                list.push("_INBOX_trigger.>".to_owned());
                list
            }
            Self::Planner => {
                let mut list = stores(&[
                    Stream::Plans,
                    Stream::Outcomes,
                    Stream::Ledger,
                    Stream::Dead,
                ]);
                list.extend(consumes(Stream::Events));
                list
            }
            Self::Executor => {
                let mut list = stores(&[Stream::Outcomes, Stream::Ledger, Stream::Dead]);
                list.extend(consumes(Stream::Plans));
                list
            }
            Self::Ensure => Stream::ALL.into_iter().flat_map(makes).collect(),
            Self::Reader => {
                let mut list: Vec<String> = Stream::ALL.map(info).to_vec();
                list.extend([Stream::Ledger, Stream::Dead].into_iter().flat_map(reads));
                list
            }
            Self::Trigger { tenant } => vec![format!("sb.trigger.{}.>", escape(tenant))],
        };
        publish.sort();
        Rights {
            publish,
            subscribe: vec![format!("{}.>", self.inbox())],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

fn stores(streams: &[Stream]) -> Vec<String> {
    streams
        .iter()
        .map(|stream| stream.subjects().to_owned())
        .collect()
}

fn info(stream: Stream) -> String {
    format!("$JS.API.STREAM.INFO.{}", stream.name())
}

/// Taking and acknowledging messages of its one consumer, in both forms of acks.
fn consumes(stream: Stream) -> Vec<String> {
    let Some(consumer) = stream.consumer() else {
        return Vec::new();
    };
    let name = stream.name();
    vec![
        format!("$JS.API.CONSUMER.MSG.NEXT.{name}.{consumer}"),
        format!("$JS.ACK.{name}.{consumer}.>"),
        format!("$JS.ACK.*.*.{name}.{consumer}.>"),
    ]
}

/// Making and updating, never deleting or purging.
fn makes(stream: Stream) -> Vec<String> {
    let name = stream.name();
    let mut list: Vec<String> = ["CREATE", "UPDATE", "INFO"]
        .map(|verb| format!("$JS.API.STREAM.{verb}.{name}"))
        .to_vec();
    if let Some(consumer) = stream.consumer() {
        list.extend([
            format!("$JS.API.CONSUMER.CREATE.{name}.{consumer}"),
            format!("$JS.API.CONSUMER.INFO.{name}.{consumer}"),
        ]);
    }
    list
}

/// Reading a record: single messages and ephemeral consumers that acknowledge nothing.
fn reads(stream: Stream) -> Vec<String> {
    let name = stream.name();
    [
        "$JS.API.CONSUMER.CREATE.{}.>",
        "$JS.API.CONSUMER.CREATE.{}",
        "$JS.API.CONSUMER.INFO.{}.*",
        "$JS.API.CONSUMER.MSG.NEXT.{}.*",
        "$JS.API.CONSUMER.DELETE.{}.*",
        "$JS.API.STREAM.MSG.GET.{}",
        "$JS.API.DIRECT.GET.{}",
        "$JS.API.DIRECT.GET.{}.>",
    ]
    .map(|pattern| pattern.replace("{}", name))
    .to_vec()
}

/// The `authorization` block of nats-server for these identities, each a role and a public nkey.
#[must_use]
pub fn server_config(users: &[(Role, String)]) -> String {
    let mut text = String::from("authorization {\n  users = [\n");
    for (role, key) in users {
        let Rights { publish, subscribe } = role.rights();
        // Writing to a String can't fail.
        let _ = write!(
            text,
            "    # {role}\n    {{\n      nkey: {key}\n      permissions: {{\n        \
             publish: {{\n          allow: [\n{}          ]\n        }}\n        \
             subscribe: {{\n          allow: [\n{}          ]\n        }}\n      }}\n    }}\n",
            lines(&publish),
            lines(&subscribe)
        );
    }
    text.push_str("  ]\n}\n");
    text
}

fn lines(subjects: &[String]) -> String {
    subjects.iter().fold(String::new(), |mut text, subject| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "            {subject:?}");
        text
    })
}

/// A new identity: its seed, which is secret, and its public key.
pub fn new_identity() -> Result<(String, String), BusError> {
    let pair = KeyPair::new_user();
    let seed = pair
        .seed()
        .map_err(|error| BusError::Forbidden(format!("no new key: {error}")))?;
    Ok((seed, pair.public_key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger() -> Role {
        Role::Trigger {
            tenant: "ci.eu".to_owned(),
        }
    }

    #[test]
    fn only_the_ensuring_identity_makes_streams() {
        for role in Role::OWN.into_iter().chain([trigger()]) {
            let makes = role
                .rights()
                .publish
                .iter()
                .any(|s| s.contains("STREAM.CREATE"));
            assert_eq!(makes, role == Role::Ensure, "{role}");
        }
    }

    #[test]
    fn nobody_deletes_purges_or_listens_to_others() {
        for role in Role::OWN.into_iter().chain([trigger()]) {
            let Rights { publish, subscribe } = role.rights();
            for subject in &publish {
                let words = ["STREAM.DELETE", "PURGE", "MSG.DELETE", "$JS.API.>"];
                assert!(
                    !words.iter().any(|word| subject.contains(word)),
                    "{role}: {subject}"
                );
            }
            assert_eq!(subscribe, [format!("{}.>", role.inbox())]);
        }
        assert_eq!(trigger().rights().publish, ["sb.trigger.ci=2Eeu.>"]);
    }

    #[test]
    fn a_flight_stream_has_one_kind_of_consumer() {
        for stream in [
            Stream::Events,
            Stream::Plans,
            Stream::Outcomes,
            Stream::Triggers,
        ] {
            let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{}.", stream.name());
            let may = |role: &Role| role.rights().publish.iter().any(|s| s.starts_with(&pull));
            let takers: Vec<Role> = Role::OWN.into_iter().filter(may).collect();
            assert_eq!(takers.len(), 1, "{}", stream.name());
            assert_eq!(takers.first().map(Role::label), stream.consumer());
        }
    }

    /// Public keys come from the server's environment.
    #[test]
    fn the_deployed_configuration_is_this_table() {
        let key = |role: &Role| format!("$SIGNALBOX_NKEY_{}", role.label().to_uppercase());
        let users = Role::OWN.map(|role| {
            let key = key(&role);
            (role, key)
        });
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../deploy/nats/authorization.conf"
        );
        let about = "# Written from common/src/bus/rights.rs; to write it again, run its test with UPDATE=1.\n\
             # Each variable holds the public nkey of one identity, of which the part holds the seed.\n";
        let expected = format!("{about}{}", server_config(&users));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, &expected).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    #[test]
    fn identities_differ() {
        let (seed, public) = new_identity().unwrap();
        assert!(seed.starts_with("SU") && public.starts_with('U'));
        assert_ne!(new_identity().unwrap().1, public);
    }
}
