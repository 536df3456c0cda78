//! The closed list of servers, and for each binary the pinned Go module that it is built from.
//!
//! Decides names, packages and linker flags; never touches the file system.

use std::fmt;

/// A server of the local control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// The store of the API server.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// kwok: nodes and pods without containers.
    Kwok,
    /// nats-server with JetStream.
    Nats,
    /// PostgreSQL.
    Postgres,
}

impl Server {
    /// Short name, used for log files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Nats => "nats-server",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A program built from a pinned Go module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// nats-server.
    NatsServer,
    /// etcd.
    Etcd,
    /// kube-apiserver.
    KubeApiserver,
    /// kubectl.
    Kubectl,
    /// kube-controller-manager.
    KubeControllerManager,
    /// kube-scheduler.
    KubeScheduler,
    /// kwok.
    Kwok,
}

impl Tool {
    /// All tools, those that are built fastest or needed first in front.
    pub const ALL: [Self; 7] = [
        Self::NatsServer,
        Self::Etcd,
        Self::KubeApiserver,
        Self::Kubectl,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kwok,
    ];

    /// File name of the program.
    #[must_use]
    pub const fn binary(self) -> &'static str {
        match self {
            Self::NatsServer => "nats-server",
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }

    /// The Go package that `go build` is given.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::NatsServer => "github.com/nats-io/nats-server/v2",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::KubeScheduler => "k8s.io/kubernetes/cmd/kube-scheduler",
            Self::Kwok => "sigs.k8s.io/kwok/cmd/kwok",
        }
    }

    /// The pinned module.
    pub(crate) const fn module(self) -> &'static Module {
        match self {
            Self::NatsServer => &NATS,
            Self::Etcd => &ETCD,
            Self::KubeApiserver
            | Self::Kubectl
            | Self::KubeControllerManager
            | Self::KubeScheduler => &KUBERNETES,
            Self::Kwok => &KWOK,
        }
    }

    /// Arguments that print the version.
    pub(crate) const fn version_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kubectl => &["version", "--client"],
            Self::NatsServer
            | Self::Etcd
            | Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kwok => &["--version"],
        }
    }

    /// The oldest version that fits.
    pub(crate) const fn oldest(self) -> (u32, u32, u32) {
        match self {
            Self::NatsServer => (2, 12, 0),
            Self::Etcd => (3, 5, 13),
            Self::KubeApiserver
            | Self::Kubectl
            | Self::KubeControllerManager
            | Self::KubeScheduler => (1, 33, 0),
            // Older ones lack the `apply` step that provisions volumes.
            Self::Kwok => (0, 8, 0),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.binary())
    }
}

/// A Go module with `tool` directives; its text travels inside this crate, so that an installed
/// program can build the servers without the source tree.
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    pub(crate) ldflags: &'static str,
}

const STRIPPED: &str = "-s -w";

static NATS: Module = Module {
    name: "nats",
    go_mod: include_str!("../../tests/control-plane/nats/go.mod"),
    go_sum: include_str!("../../tests/control-plane/nats/go.sum"),
    ldflags: STRIPPED,
};

static ETCD: Module = Module {
    name: "etcd",
    go_mod: include_str!("../../tests/control-plane/etcd/go.mod"),
    go_sum: include_str!("../../tests/control-plane/etcd/go.sum"),
    ldflags: STRIPPED,
};

static KWOK: Module = Module {
    name: "kwok",
    go_mod: include_str!("../../tests/control-plane/kwok/go.mod"),
    go_sum: include_str!("../../tests/control-plane/kwok/go.sum"),
    ldflags: STRIPPED,
};

// Without a version the API server calls itself `v0.0.0-master+$Format:%H$`, which clients refuse.
static KUBERNETES: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../../tests/control-plane/kubernetes/go.mod"),
    go_sum: include_str!("../../tests/control-plane/kubernetes/go.sum"),
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
              -X k8s.io/component-base/version.gitMajor=1 \
              -X k8s.io/component-base/version.gitMinor=36",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_declared_in_its_module() {
        for tool in Tool::ALL {
            assert!(tool.module().go_mod.contains(tool.package()), "{tool}");
        }
    }

    #[test]
    fn linked_version_is_the_pinned_one() {
        assert!(KUBERNETES.go_mod.contains("k8s.io/kubernetes v1.36.3"));
        assert!(KUBERNETES.ldflags.contains("gitVersion=v1.36.3"));
    }
}
