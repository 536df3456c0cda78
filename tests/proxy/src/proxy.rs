//! One part's proxy: a listener on loopback for each server, one director for all of them.
//!
//! Decides where the part connects to. Ends with the last handle on it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::director::Director;
use crate::valve::{Direction, Protocol, Valve};
use crate::{api, bus, sql};

/// The servers behind a proxy.
#[derive(Clone, Debug)]
pub struct Servers {
    /// `https://host:port` of the API server.
    pub api_url: String,
    /// File with the certificate that it is trusted by.
    pub api_ca: PathBuf,
    /// `nats://host:port` of the bus.
    pub nats_url: String,
    /// `host:port` of the database server, if there is one.
    pub postgres: Option<String>,
    /// The only namespace whose objects the part sees: lists and watches of all namespaces become
    /// those of this one. None: all.
    pub namespace: Option<String>,
}

/// A running proxy.
pub struct Proxy {
    /// What the part does and what is done to it.
    pub director: Arc<Director>,
    api: SocketAddr,
    bus: SocketAddr,
    sql: Option<SocketAddr>,
    valves: [Arc<Valve>; 3],
    tasks: Vec<AbortHandle>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Proxy {
    /// Listens before `servers`, on the runtime of the caller.
    pub async fn start(servers: Servers) -> std::io::Result<Self> {
        let director = Director::new();
        let valves: [Arc<Valve>; 3] = std::array::from_fn(|_| Arc::new(Valve::new()));
        let [api_valve, bus_valve, sql_valve] = valves.clone();
        let mut tasks = Vec::new();

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let api = listener.local_addr()?;
        let gate = Arc::new(api::Gate::new(&servers, director.clone(), api_valve)?);
        tasks.push(serve(listener, director.clone(), move |stream| {
            api::serve(stream, gate.clone())
        }));

        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let bus = listener.local_addr()?;
        let (to, by) = (servers.nats_url.replace("nats://", ""), director.clone());
        tasks.push(serve(listener, director.clone(), move |stream| {
            bus::serve(stream, to.clone(), by.clone(), bus_valve.clone())
        }));

        let sql = match servers.postgres {
            None => None,
            Some(to) => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?;
                let by = director.clone();
                tasks.push(serve(listener, director.clone(), move |stream| {
                    sql::serve(stream, to.clone(), by.clone(), sql_valve.clone())
                }));
                Some(address)
            }
        };
        Ok(Self {
            director,
            api,
            bus,
            sql,
            valves,
            tasks,
        })
    }

    /// Writes a kubeconfig that leads here, with the part's own token.
    pub fn kubeconfig(&self, path: &Path, token: &str) -> std::io::Result<()> {
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: proxy, \
             clusters: [{{name: proxy, cluster: {{server: 'http://{}'}}}}], \
             users: [{{name: part, user: {{token: '{token}'}}}}], \
             contexts: [{{name: proxy, context: {{cluster: proxy, user: part}}}}]}}\n",
            self.api
        );
        std::fs::write(path, text)
    }

    /// `http://host:port` before the API server.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// `nats://host:port` before the bus.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://{}", self.bus)
    }

    /// `host:port` before the database server.
    #[must_use]
    pub fn postgres(&self) -> Option<SocketAddr> {
        self.sql
    }

    /// From now on nothing passes this way, until [`Self::heal`].
    pub fn part_from(&self, protocol: Protocol, direction: Direction) {
        self.valve(protocol).set(direction, true);
    }

    /// What was held back passes, and all that follows.
    pub fn heal(&self, protocol: Protocol, direction: Direction) {
        self.valve(protocol).set(direction, false);
    }

    fn valve(&self, protocol: Protocol) -> &Valve {
        let [api, bus, sql] = &self.valves;
        match protocol {
            Protocol::Api => api,
            Protocol::Bus => bus,
            Protocol::Sql => sql,
        }
    }
}

/// Serves each connection in a task of its own, until the part dies or the proxy ends.
fn serve<F, Fut>(listener: TcpListener, director: Arc<Director>, connection: F) -> AbortHandle
where
    F: Fn(TcpStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let accepting = async move {
        // Connections end with the proxy.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // Without this small frames wait for the acknowledgement of those before.
            let _ = stream.set_nodelay(true);
            let mut life = director.life();
            let served = connection(stream);
            connections.spawn(async move {
                tokio::select! {
                    biased;
                    _ = life.changed() => {}
                    () = served => {}
                }
            });
            while connections.try_join_next().is_some() {}
        }
    };
    tokio::spawn(accepting).abort_handle()
}
