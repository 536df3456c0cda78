//! What "ready" means for each server, asked over the network as a client would.
//!
//! Never sleeps a fixed time: conditions are polled until they hold or the limit is over.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// Pause between two looks.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// How long a server may take to become ready, also on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// Looks at `condition` until it holds; `false` if the limit is over before that.
pub(crate) async fn holds_within(
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> bool {
    let begun = Instant::now();
    loop {
        if condition().await {
            return true;
        }
        if begun.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether `GET path` answers 200.
pub(crate) async fn http_ok(port: u16, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
    first_bytes(port, &request).await.is_some_and(|answer| {
        answer
            .split(' ')
            .nth(1)
            .is_some_and(|status| status == "200")
    })
}

/// What `POST path` answers, head and body.
pub(crate) async fn post(port: u16, path: &str, body: &str) -> Option<String> {
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    first_bytes(port, &request).await
}

/// Whether the nats-server of this name greets.
pub(crate) async fn nats_greets(port: u16, server_name: &str) -> bool {
    first_bytes(port, "").await.is_some_and(|greeting| {
        greeting.starts_with("INFO ") && greeting.contains(&format!("\"{server_name}\""))
    })
}

/// Whether anything listens.
pub(crate) async fn listens(port: u16) -> bool {
    matches!(
        timeout(ANSWER, TcpStream::connect(("127.0.0.1", port))).await,
        Ok(Ok(_))
    )
}

async fn first_bytes(port: u16, request: &str) -> Option<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0_u8; 4096];
        let length = stream.read(&mut buffer).await?;
        buffer.truncate(length);
        Ok::<_, std::io::Error>(buffer)
    };
    let bytes = timeout(ANSWER, exchange).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
