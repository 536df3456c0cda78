//! Partitions: a direction of a protocol that holds everything back until it is opened again.

use tokio::sync::watch;

/// What a part speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP with the API server.
    Api,
    /// NATS.
    Bus,
    /// PostgreSQL.
    Sql,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the part sends.
    ToServer,
    /// What the server sends.
    ToPart,
}

/// The two directions of one protocol.
pub(crate) struct Valve {
    shut: [watch::Sender<bool>; 2],
}

impl Valve {
    pub(crate) fn new() -> Self {
        Self {
            shut: [false, false].map(|shut| watch::channel(shut).0),
        }
    }

    fn of(&self, direction: Direction) -> &watch::Sender<bool> {
        let [to_server, to_part] = &self.shut;
        match direction {
            Direction::ToServer => to_server,
            Direction::ToPart => to_part,
        }
    }

    pub(crate) fn set(&self, direction: Direction, shut: bool) {
        self.of(direction).send_replace(shut);
    }

    /// Returns when what comes this way may pass.
    pub(crate) async fn pass(&self, direction: Direction) {
        let mut shut = self.of(direction).subscribe();
        // The sender lives as long as the valve.
        let _ = shut.wait_for(|shut| !*shut).await;
    }
}
