//! Chooses free ports on loopback, below the range that the system gives to outgoing connections.
//!
//! A port inside that range can be taken by any client while its server is stopped, and a client
//! that keeps calling the stopped port can even end up connected to itself. Between choosing and
//! binding another process may still take a port; then the server ends at once and is started again
//! with another port. Never gives one port twice within a process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::credentials::random_number;
use crate::error::DevClusterError;
use crate::servers::Server;

const LOWEST: u16 = 15_000;
const HIGHEST: u16 = 32_000;
const TRIES: usize = 200;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    EtcdClient,
    EtcdPeer,
    ApiServer,
    Nats,
    Postgres,
}

impl Port {
    const fn of(server: Server) -> &'static [Self] {
        match server {
            Server::Etcd => &[Self::EtcdClient, Self::EtcdPeer],
            Server::ApiServer => &[Self::ApiServer],
            Server::ControllerManager | Server::Scheduler | Server::Kwok => &[],
            Server::Nats => &[Self::Nats],
            Server::Postgres => &[Self::Postgres],
        }
    }
}

/// The ports of one cluster; once chosen they stay, also while their server is stopped.
#[derive(Debug, Default)]
pub(crate) struct PortTable(Mutex<BTreeMap<Port, u16>>);

impl PortTable {
    /// The port, chosen now if it was not before.
    pub(crate) fn get(&self, port: Port) -> Result<u16, DevClusterError> {
        if let Some(number) = self.known(port) {
            return Ok(number);
        }
        let number = free_port()?;
        self.lock().insert(port, number);
        Ok(number)
    }

    /// The port, if it was chosen before.
    pub(crate) fn known(&self, port: Port) -> Option<u16> {
        self.lock().get(&port).copied()
    }

    /// Whether a port of `server` was chosen before.
    pub(crate) fn has_any_of(&self, server: Server) -> bool {
        Port::of(server)
            .iter()
            .any(|port| self.known(*port).is_some())
    }

    /// Lets the next start of `server` choose again.
    pub(crate) fn forget(&self, server: Server) {
        for port in Port::of(server) {
            self.lock().remove(port);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Port, u16>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A port that nothing listens on.
///
/// # Errors
/// If none was found.
pub fn free_port() -> Result<u16, DevClusterError> {
    for _ in 0..TRIES {
        let port = match range() {
            Some((low, high)) => low + random_number()? % (high - low),
            None => 0,
        };
        let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) else {
            continue;
        };
        let Ok(address) = listener.local_addr() else {
            continue;
        };
        let fresh = GIVEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.port());
        if fresh {
            return Ok(address.port());
        }
    }
    Err(DevClusterError::NoPort)
}

/// `None` where the system's own range is unknown or leaves no room below it; then the system
/// chooses.
fn range() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let ephemeral: u16 = text.split_whitespace().next()?.parse().ok()?;
    let high = ephemeral.min(HIGHEST);
    (high > LOWEST.saturating_add(1_000)).then_some((LOWEST, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free() {
        let ports: Vec<u16> = (0..20).map(|_| free_port().unwrap()).collect();
        let different: BTreeSet<u16> = ports.iter().copied().collect();
        assert_eq!(different.len(), ports.len());
        TcpListener::bind(("127.0.0.1", ports[0])).unwrap();
    }
}
