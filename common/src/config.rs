//! What every part is told at start, by flags and environment.
//!
//! Never holds a secret: keys are files that are named here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

const NATS_URL: &str = "nats://127.0.0.1:4222";
const CLUSTER: &str = "default";

/// Arguments of every part; flattened into its own.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct CommonArgs {
    /// Servers of the bus, separated by commas.
    #[arg(long, env = "SIGNALBOX_NATS_URL", default_value = NATS_URL)]
    pub nats_url: String,
    /// File with the nkey seed of this part's identity on the bus.
    #[arg(long, env = "SIGNALBOX_NKEY_FILE")]
    pub nkey_file: Option<PathBuf>,
    /// File with the nkey seed that this part signs its messages with; another one than its identity.
    #[arg(long, env = "SIGNALBOX_SIGNING_KEY_FILE")]
    pub signing_key_file: Option<PathBuf>,
    /// File with the public keys whose messages are believed, in lines of `<role> <public key>`.
    #[arg(long, env = "SIGNALBOX_TRUSTED_KEYS_FILE")]
    pub trusted_keys_file: Option<PathBuf>,
    /// Name of the Kubernetes cluster in subjects.
    #[arg(long, env = "SIGNALBOX_CLUSTER", default_value = CLUSTER)]
    pub cluster: String,
    /// Name of this process in logs, Leases and records.
    #[arg(long, env = "SIGNALBOX_INSTANCE", default_value_t = instance())]
    pub instance: String,
    /// Where /healthz, /readyz and /metrics are served; port 0 takes a free one and logs it.
    #[arg(long, env = "SIGNALBOX_LISTEN", default_value_t = loopback())]
    pub listen: SocketAddr,
    /// kubeconfig; without one the service account of the pod.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

impl Default for CommonArgs {
    fn default() -> Self {
        Self {
            nats_url: NATS_URL.to_owned(),
            nkey_file: None,
            signing_key_file: None,
            trusted_keys_file: None,
            cluster: CLUSTER.to_owned(),
            instance: instance(),
            listen: loopback(),
            kubeconfig: None,
        }
    }
}

const fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}

/// `<hostname>-<pid>`.
fn instance() -> String {
    let host = std::env::var("HOSTNAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "local" } else { host };
    format!("{host}-{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        common: CommonArgs,
    }

    #[test]
    fn flags_are_read() {
        let args = Args::parse_from([
            "part",
            "--cluster=eu",
            "--instance=a",
            "--listen=0.0.0.0:80",
        ]);
        assert_eq!(args.common.cluster, "eu");
        assert_eq!(args.common.instance, "a");
        assert_eq!(args.common.listen.port(), 80);
    }

    #[test]
    fn an_instance_is_never_empty() {
        assert!(instance().len() > 2);
    }
}
