//! The command line of each server.
//!
//! Decides flags and configuration files; never starts anything.

use std::ffi::OsString;
use std::path::Path;

use crate::audit;
use crate::command_line::CommandLine;
use crate::credentials::{CONTROLLER_MANAGER, Credentials, KWOK, SCHEDULER};
use crate::error::DevClusterError;
use crate::folder::Folder;
use crate::options::{ClusterOptions, NatsOptions};

/// Stage documents for kwok.
pub(crate) const STAGES: &str = include_str!("kwok-stages.yaml");
/// Nodes and the default storage class.
pub(crate) const OBJECTS: &str = include_str!("objects.yaml");

/// `--flag=` followed by a path.
fn with(flag: &str, path: &Path) -> OsString {
    let mut text = OsString::from(flag);
    text.push(path);
    text
}

/// etcd without fsync: data survives a killed process, not a lost machine.
pub(crate) fn etcd(program: &Path, folder: &Folder, client: u16, peer: u16) -> CommandLine {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    CommandLine::new(program, folder.path())
        .arg("--name=devcluster")
        .arg(with("--data-dir=", &folder.join("etcd")))
        .arg(format!("--listen-client-urls={client}"))
        .arg(format!("--advertise-client-urls={client}"))
        .arg(format!("--listen-peer-urls={peer}"))
        .arg(format!("--initial-advertise-peer-urls={peer}"))
        .arg(format!("--initial-cluster=devcluster={peer}"))
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn")
}

/// kube-apiserver with RBAC, tokens from a file, and limits fit for storms.
pub(crate) fn api_server(
    program: &Path,
    folder: &Folder,
    credentials: &Credentials,
    options: &ClusterOptions,
    [port, etcd]: [u16; 2],
) -> Result<CommandLine, DevClusterError> {
    let mut line = CommandLine::new(program, folder.path())
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .arg("--bind-address=127.0.0.1")
        .arg("--advertise-address=127.0.0.1")
        .arg(format!("--secure-port={port}"))
        // A loopback address may not become an endpoint of the `kubernetes` Service.
        .arg("--endpoint-reconciler-type=none")
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .arg("--authorization-mode=RBAC")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--max-requests-inflight=3000")
        .arg("--max-mutating-requests-inflight=1500")
        .arg("--allow-privileged=true")
        .arg("--profiling=false")
        // Some clusters have it: who sets a blocking owner reference needs a right on the owner's finalizers.
        .arg("--enable-admission-plugins=OwnerReferencesPermissionEnforcement")
        // Else an orderly end waits for the watches of clients that stay.
        .arg("--shutdown-watch-termination-grace-period=1s")
        .arg(with("--tls-cert-file=", &credentials.serving_certificate))
        .arg(with("--tls-private-key-file=", &credentials.serving_key))
        .arg(with("--cert-dir=", &folder.join("keys")))
        .arg(with(
            "--service-account-key-file=",
            &credentials.service_account_public_key,
        ))
        .arg(with(
            "--service-account-signing-key-file=",
            &credentials.service_account_key,
        ))
        .arg(with("--token-auth-file=", &credentials.token_file));
    if !options.controllers {
        // Nobody makes the default service accounts, without which no pod would be admitted.
        line = line.arg("--disable-admission-plugins=ServiceAccount");
    }
    if options.audit {
        let policy = folder.write("audit/policy.yaml", audit::POLICY)?;
        line.arguments
            .extend(audit::flags(&policy, &folder.join("audit/audit.log")));
    }
    Ok(line)
}

/// kube-controller-manager with many workers and no throttling of its own.
pub(crate) fn controller_manager(
    program: &Path,
    folder: &Folder,
    credentials: &Credentials,
) -> Result<CommandLine, DevClusterError> {
    let mut line = CommandLine::new(program, folder.path())
        .arg(with(
            "--kubeconfig=",
            credentials.kubeconfig(CONTROLLER_MANAGER)?,
        ))
        .arg(with(
            "--service-account-private-key-file=",
            &credentials.service_account_key,
        ))
        .arg(with("--root-ca-file=", &credentials.ca));
    for flag in [
        "--use-service-account-credentials=false",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        "--concurrent-statefulset-syncs=20",
        "--concurrent-daemonset-syncs=5",
        "--concurrent-job-syncs=20",
        "--concurrent-endpoint-syncs=20",
        "--concurrent-service-endpoint-syncs=20",
        "--concurrent-namespace-syncs=20",
        "--concurrent-gc-syncs=40",
        "--concurrent-horizontal-pod-autoscaler-syncs=10",
        "--concurrent-serviceaccount-token-syncs=10",
        "--pvclaimbinder-sync-period=1s",
        // kwok may be stopped in a test; its pods must not be evicted meanwhile.
        "--node-monitor-grace-period=10m",
    ] {
        line = line.arg(flag);
    }
    Ok(line)
}

/// kube-scheduler without throttling of its own.
pub(crate) fn scheduler(
    program: &Path,
    folder: &Folder,
    credentials: &Credentials,
) -> Result<CommandLine, DevClusterError> {
    Ok(CommandLine::new(program, folder.path())
        .arg(with("--kubeconfig=", credentials.kubeconfig(SCHEDULER)?))
        .arg("--leader-elect=false")
        .arg("--bind-address=127.0.0.1")
        .arg("--secure-port=0")
        .arg("--kube-api-qps=500")
        .arg("--kube-api-burst=1000"))
}

/// kwok, which plays kubelet on all nodes, and the provisioner of volumes.
pub(crate) fn kwok(
    program: &Path,
    folder: &Folder,
    credentials: &Credentials,
    options: &ClusterOptions,
) -> Result<CommandLine, DevClusterError> {
    let text = format!("{STAGES}\n---\n{}\n", options.extra_stages);
    let stages = folder.write("kwok.yaml", &text)?;
    let mut line = CommandLine::new(program, folder.path())
        .arg(with("--kubeconfig=", credentials.kubeconfig(KWOK)?))
        .arg(with("--config=", &stages))
        .arg("--manage-all-nodes=true")
        .arg("--cidr=10.244.0.0/16")
        .arg("--node-ip=10.0.0.1")
        .arg("--node-lease-duration-seconds=40");
    // Else a configuration in the user's home would be read too.
    line.environment
        .push(("KWOK_WORKDIR", folder.join("kwok").into()));
    Ok(line)
}

/// nats-server with JetStream; monitoring stays off.
pub(crate) fn nats(
    program: &Path,
    folder: &Folder,
    options: &NatsOptions,
    port: u16,
    server_name: &str,
) -> Result<CommandLine, DevClusterError> {
    let store = folder.join("nats");
    let text = format!(
        "server_name: \"{server_name}\"\nlisten: \"127.0.0.1:{port}\"\n\
         jetstream {{\n  store_dir: \"{}\"\n  max_memory_store: 256MB\n  \
         max_file_store: 20GB\n}}\n{}\n",
        store.display(),
        options.config
    );
    let config = folder.write("nats.conf", &text)?;
    let mut line = CommandLine::new(program, folder.path())
        .arg("--config")
        .arg(config);
    // Streams of 50 messages need little; without a limit Go's collector lets garbage double the heap.
    line.environment.push(("GOMEMLIMIT", "40MiB".into()));
    // One core is plenty for them, and handing each message to a thread on another one costs more than its work.
    line.environment.push(("GOMAXPROCS", "1".into()));
    Ok(line)
}
