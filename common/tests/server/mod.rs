//! A nats-server of a test, on a port of its own; it ends with the test.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use signalbox_devcluster::{Tool, locate, to_stderr};

pub(crate) struct NatsServer {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl NatsServer {
    /// Starts a server with `config` added to its configuration.
    pub(crate) async fn start(name: &str, config: &str) -> Self {
        let tools: BTreeMap<Tool, PathBuf> =
            locate(&[Tool::NatsServer], &to_stderr()).await.unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = format!("signalbox-{name}-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{config}\n",
            folder.join("store").display()
        );
        std::fs::write(folder.join("nats.conf"), text).unwrap();
        let mut server = Self {
            program: tools.get(&Tool::NatsServer).unwrap().clone(),
            folder,
            port,
            child: None,
        };
        server.resume();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends the server without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again with its data, and waits until it listens.
    pub(crate) fn resume(&mut self) {
        let log = std::fs::File::create(self.folder.join("nats.log")).unwrap();
        let mut child = Command::new(&self.program)
            .arg("--config")
            .arg(self.folder.join("nats.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = std::fs::read_to_string(self.folder.join("nats.log")).unwrap();
            assert!(
                child.try_wait().unwrap().is_none(),
                "nats-server ended: {log}"
            );
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "nats-server is silent: {log}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
    }

    /// It answers nothing more, with its connections open, until it goes on.
    pub(crate) fn hold_still(&self) {
        signalbox_devcluster::hold_still(self.child.as_ref().unwrap().id()).unwrap();
    }

    /// Undoes `hold_still`.
    pub(crate) fn go_on(&self) {
        signalbox_devcluster::go_on(self.child.as_ref().unwrap().id()).unwrap();
    }

    /// Starts it again without its data.
    pub(crate) fn resume_empty(&mut self) {
        std::fs::remove_dir_all(self.folder.join("store")).unwrap();
        self.resume();
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
