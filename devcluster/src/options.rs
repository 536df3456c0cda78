//! What a caller may choose about a local control plane.
//!
//! Never holds secrets: tokens, passwords and keys are made at start.

use std::path::PathBuf;

/// One user of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User name, such as `system:serviceaccount:signalbox-system:watcher`.
    pub user: String,
    /// Groups; those every service account has are added by themselves.
    pub groups: Vec<String>,
}

impl Identity {
    /// The service account `name` in `namespace`.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            groups: Vec::new(),
        }
    }

    /// The given groups, and for a service account those that the API server would give it.
    pub(crate) fn all_groups(&self) -> Vec<String> {
        let mut groups = self.groups.clone();
        if let Some(rest) = self.user.strip_prefix("system:serviceaccount:") {
            groups.push("system:serviceaccounts".to_owned());
            if let Some((namespace, _)) = rest.split_once(':') {
                groups.push(format!("system:serviceaccounts:{namespace}"));
            }
        }
        groups.sort();
        groups.dedup();
        groups
    }
}

/// How nats-server is started. JetStream is always on, with file storage in the cluster's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// Text added to the configuration file, such as an `authorization` block.
    pub config: String,
}

/// What to start. etcd and kube-apiserver always run.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Part of folder and server names; letters, digits and `-`.
    pub name: String,
    /// Start controller manager, scheduler and kwok with two nodes and a default storage class.
    pub controllers: bool,
    /// Start PostgreSQL.
    pub postgres: bool,
    /// Start nats-server.
    pub nats: Option<NatsOptions>,
    /// Users besides `admin`. They have no rights until RBAC objects grant some.
    pub identities: Vec<Identity>,
    /// Write an audit log: metadata of every request, and the bodies of writes.
    pub audit: bool,
    /// Folder for data, logs and kubeconfigs. A given folder stays, and its data is used again at
    /// the next start; without one a temporary folder is used and removed at the end.
    pub root: Option<PathBuf>,
    /// More kwok `Stage` documents (YAML), beside the ones that make pods and nodes ready.
    pub extra_stages: String,
}

impl ClusterOptions {
    /// etcd and the API server only.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// Every server, with an audit log.
    #[must_use]
    pub fn full(name: &str) -> Self {
        Self {
            controllers: true,
            postgres: true,
            nats: Some(NatsOptions::default()),
            audit: true,
            ..Self::bare(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_get_their_groups() {
        let watcher = Identity::service_account("signalbox-system", "watcher");
        assert_eq!(
            watcher.user,
            "system:serviceaccount:signalbox-system:watcher"
        );
        assert_eq!(
            watcher.all_groups(),
            [
                "system:serviceaccounts",
                "system:serviceaccounts:signalbox-system"
            ]
        );
    }
}
