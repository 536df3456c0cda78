//! Starts real control planes and checks what the crate promises about them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed step ends the test, and its timings are worth reading"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use signalbox_devcluster::{
    ClusterOptions, DevCluster, DevClusterError, Identity, NatsOptions, Server,
};

const SERVERS: [Server; 7] = [
    Server::Etcd,
    Server::ApiServer,
    Server::ControllerManager,
    Server::Scheduler,
    Server::Kwok,
    Server::Nats,
    Server::Postgres,
];

const WATCHER: &str = "system:serviceaccount:signalbox-system:watcher";

fn options(name: &str) -> ClusterOptions {
    ClusterOptions {
        identities: vec![Identity::service_account("signalbox-system", "watcher")],
        ..ClusterOptions::full(name)
    }
}

fn deployment(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name}, namespace: default }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      initContainers:
      - {{ name: prepare, image: "example/prepare:1" }}
      - {{ name: sidecar, image: "example/sidecar:1", restartPolicy: Always }}
      containers:
      - {{ name: main, image: "{image}" }}
"#
    )
}

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data, namespace: default }
spec:
  accessModes: [ReadWriteOnce]
  resources: { requests: { storage: 1Gi } }
";

fn job(name: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{ name: {name}, namespace: default }}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{{ name: main, image: "{image}" }}]
"#
    )
}

/// Waits until kubectl prints exactly `expected`.
async fn eventually(cluster: &DevCluster, arguments: &[&str], expected: &str) {
    let begun = Instant::now();
    loop {
        let seen = cluster
            .kubectl(arguments)
            .await
            .unwrap_or_else(|error| error.to_string());
        if seen.trim() == expected {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{arguments:?}: {seen:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the process is there and not only waiting to be reaped.
fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn pids(cluster: &DevCluster) -> Vec<u32> {
    SERVERS
        .iter()
        .map(|server| cluster.pid(*server).unwrap())
        .collect()
}

/// Processes whose command line mentions `folder`.
fn mentioning(folder: &Path) -> Vec<PathBuf> {
    let folder = folder.to_str().unwrap();
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            std::fs::read(path.join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(folder))
        })
        .collect()
}

async fn workloads_behave(cluster: &DevCluster) {
    let available = "-ojsonpath={.status.conditions[?(@.type==\"Available\")].status}";
    let phase = "-ojsonpath={.status.phase}";
    let begun = Instant::now();
    cluster
        .apply(&deployment("good", "example/app:1"))
        .await
        .unwrap();
    eventually(cluster, &["get", "deployment/good", available], "True").await;
    println!(
        "deployment available after {} ms",
        begun.elapsed().as_millis()
    );
    let begun = Instant::now();
    cluster.apply(CLAIM).await.unwrap();
    eventually(cluster, &["get", "pvc/data", phase], "Bound").await;
    println!("claim bound after {} ms", begun.elapsed().as_millis());

    cluster
        .apply(&deployment("bad", "example/bad:1"))
        .await
        .unwrap();
    cluster
        .apply(&job("migrate", "example/migrate:1"))
        .await
        .unwrap();
    cluster
        .apply(&job("broken-step", "example/fails:1"))
        .await
        .unwrap();
    let succeeded = "-ojsonpath={.status.succeeded}";
    eventually(cluster, &["get", "job/migrate", succeeded], "1").await;
    let failed = "-ojsonpath={.status.failed}";
    eventually(cluster, &["get", "job/broken-step", failed], "1").await;

    let waiting = "-ojsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}";
    let bad = ["get", "pods", "-l", "app=bad", waiting];
    eventually(cluster, &bad, "ImagePullBackOff ImagePullBackOff").await;
    let state = cluster
        .kubectl(&["get", "deployment/bad", available])
        .await
        .unwrap();
    assert_eq!(state.trim(), "False");

    cluster
        .kubectl(&["delete", "deployment/good", "pvc/data"])
        .await
        .unwrap();
    let names = "-ojsonpath={.items[*].metadata.name}";
    eventually(cluster, &["get", "pods", "-l", "app=good", names], "").await;
    eventually(cluster, &["get", "pv", names], "").await;
}

async fn identities_have_no_rights_by_themselves(cluster: &DevCluster) {
    let kubeconfig = cluster.kubeconfig(WATCHER).unwrap();
    let as_watcher = format!("--kubeconfig={}", kubeconfig.display());
    let who = [
        &as_watcher,
        "auth",
        "whoami",
        "-ojsonpath={.status.userInfo.username}",
    ];
    assert_eq!(cluster.kubectl(&who).await.unwrap(), WATCHER);
    let refused = cluster
        .kubectl(&[&as_watcher, "get", "pods"])
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("forbidden"), "{refused}");
    assert!(matches!(
        cluster.kubeconfig("nobody"),
        Err(DevClusterError::UnknownIdentity { .. })
    ));
    let log = std::fs::read_to_string(cluster.audit_log().unwrap()).unwrap();
    assert!(log.contains(WATCHER), "the audit log names the identity");
}

async fn servers_come_back_where_they_were(cluster: &DevCluster) {
    let url = cluster.nats_url().unwrap();
    let address = url.trim_start_matches("nats://").to_owned();
    cluster.stop_server(Server::Nats).await.unwrap();
    assert!(std::net::TcpStream::connect(&address).is_err());
    assert_eq!(cluster.pid(Server::Nats), None);
    cluster.start_server(Server::Nats).await.unwrap();
    assert_eq!(cluster.nats_url().unwrap(), url);
    assert!(std::net::TcpStream::connect(&address).is_ok());

    cluster.create_database("before").await.unwrap();
    for server in [Server::Postgres, Server::Etcd, Server::ApiServer] {
        let before = cluster.pid(server);
        cluster.kill_server(server).await.unwrap();
        cluster.start_server(server).await.unwrap();
        assert_ne!(cluster.pid(server), before);
    }
    let again = cluster.create_database("before").await.unwrap_err();
    assert!(again.to_string().contains("already exists"), "{again}");
    cluster.kubectl(&["get", "deployment/bad"]).await.unwrap();
}

#[tokio::test]
async fn full_clusters_start_work_and_leave_nothing() {
    let begun = Instant::now();
    let first = DevCluster::start(options("first")).await.unwrap();
    println!(
        "first cluster ready after {} ms",
        begun.elapsed().as_millis()
    );
    let begun = Instant::now();
    let second = DevCluster::start(options("second")).await.unwrap();
    println!(
        "second cluster ready after {} ms",
        begun.elapsed().as_millis()
    );
    assert_ne!(first.api_url(), second.api_url());
    assert_ne!(first.dir(), second.dir());
    for server in SERVERS {
        let bytes = first.resident_bytes(server).unwrap();
        println!("{server}: {} MiB", bytes / 1024 / 1024);
    }

    workloads_behave(&first).await;
    identities_have_no_rights_by_themselves(&first).await;
    servers_come_back_where_they_were(&first).await;
    second
        .kubectl(&["get", "nodes", "node-a", "node-b"])
        .await
        .unwrap();

    for cluster in [first, second] {
        let (pids, folder) = (pids(&cluster), cluster.dir().to_owned());
        let begun = Instant::now();
        cluster.stop().await.unwrap();
        println!("stopped after {} ms", begun.elapsed().as_millis());
        assert!(!folder.exists());
        assert!(pids.iter().all(|pid| !runs(*pid)), "{pids:?}");
        assert_eq!(mentioning(&folder), Vec::<PathBuf>::new());
    }
}

#[tokio::test]
async fn named_folder_keeps_its_data() {
    let root = std::env::temp_dir().join(format!("signalbox-keep-{}", std::process::id()));
    let options = ClusterOptions {
        root: Some(root.clone()),
        postgres: true,
        ..ClusterOptions::bare("kept")
    };
    let cluster = DevCluster::start(options.clone()).await.unwrap();
    cluster
        .kubectl(&["create", "namespace", "stays"])
        .await
        .unwrap();
    cluster.create_database("stays").await.unwrap();
    cluster.stop().await.unwrap();

    let cluster = DevCluster::start(options).await.unwrap();
    cluster
        .kubectl(&["get", "namespace", "stays"])
        .await
        .unwrap();
    assert!(cluster.create_database("stays").await.is_err());
    assert!(matches!(
        cluster.start_server(Server::Nats).await,
        Err(DevClusterError::NotInCluster {
            server: Server::Nats
        })
    ));
    cluster.stop().await.unwrap();
    std::fs::remove_dir_all(&root).unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why_and_leaves_nothing() {
    let mut options = options("wrong");
    options.nats = Some(NatsOptions {
        config: "no such setting {".into(),
    });
    let error = DevCluster::start(options).await.unwrap_err();
    assert!(error.to_string().contains("nats-server"), "{error}");
    assert!(error.to_string().contains("Parse error"), "{error}");
    let DevClusterError::Died { log, .. } = error else {
        panic!("{error:?}")
    };
    let folder = log.ancestors().nth(2).unwrap();
    assert!(!folder.exists());
    assert_eq!(mentioning(folder), Vec::<PathBuf>::new());
}

/// Set in the process that `a_killed_process_leaves_no_server` starts, and kills.
const VICTIM: &str = "SIGNALBOX_DEVCLUSTER_VICTIM";

#[tokio::test]
async fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let cluster = DevCluster::start(options("victim")).await.unwrap();
    let pids: Vec<String> = pids(&cluster).iter().map(u32::to_string).collect();
    println!("\nstarted {} {}", cluster.dir().display(), pids.join(" "));
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_killed_process_leaves_no_server() {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = BufReader::new(victim.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .find(|line| line.starts_with("started "))
        .unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    let pids: Vec<u32> = words[2..].iter().map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() == SERVERS.len() && pids.iter().all(|pid| runs(*pid)));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let begun = Instant::now();
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{pids:?} still run"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Its folder goes at a later start; this test does not wait that long.
    std::fs::remove_dir_all(words[1]).unwrap();
}
