//! A TCP proxy before the API server that can swallow one answer: the write is done, nobody knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxy {
    pub(crate) url: String,
    armed: Arc<AtomicBool>,
}

impl Proxy {
    /// A proxy before `upstream` (`https://host:port`) that serves until its runtime ends.
    pub(crate) async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let armed = Arc::new(AtomicBool::new(false));
        let to = upstream.trim_start_matches("https://").to_owned();
        let swallow = armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, to.clone(), swallow.clone()));
            }
        });
        Self { url, armed }
    }

    /// The next answer is lost, with its connection.
    pub(crate) fn swallow_next_answer(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whether an answer was lost since.
    pub(crate) fn swallowed(&self) -> bool {
        !self.armed.load(Ordering::SeqCst)
    }
}

async fn serve(client: TcpStream, to: String, armed: Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            if armed.swap(false, Ordering::SeqCst) {
                return;
            }
            let Some(bytes) = buffer.get(..count) else {
                return;
            };
            if to_client.write_all(bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = requests => {}
        () = answers => {}
    }
}
