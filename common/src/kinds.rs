//! The closed sets of kinds: what is reconciled, what is made, what is linked.
//!
//! The watcher is driven by these tables and so needs to know no kind itself. Cluster-scoped kinds
//! can't be expressed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A custom resource that is reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// `portfolioapps.signalbox.dev`
    PortfolioApp,
    /// `databasemigrations.signalbox.dev`
    DatabaseMigration,
}

impl Kind {
    /// All kinds, in order.
    pub const ALL: [Self; 2] = [Self::PortfolioApp, Self::DatabaseMigration];

    /// Name as in `kind:`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PortfolioApp => "PortfolioApp",
            Self::DatabaseMigration => "DatabaseMigration",
        }
    }

    /// Plural, as in the API path.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::PortfolioApp => "portfolioapps",
            Self::DatabaseMigration => "databasemigrations",
        }
    }

    /// The kind of a name in any spelling users have for it: kind, plural or short name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "portfolioapp" | "portfolioapps" | "papp" => Some(Self::PortfolioApp),
            "databasemigration" | "databasemigrations" | "dbm" => Some(Self::DatabaseMigration),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind that Signalbox makes and owns. Leases and Events of steps are apart: see [`crate::wire::action`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChildKind {
    /// `v1`
    ConfigMap,
    /// `v1`
    PersistentVolumeClaim,
    /// `v1`
    Service,
    /// `apps/v1`
    Deployment,
    /// `autoscaling/v2`
    HorizontalPodAutoscaler,
    /// `policy/v1`
    PodDisruptionBudget,
}

impl ChildKind {
    /// All child kinds, in order of creation.
    pub const ALL: [Self; 6] = [
        Self::ConfigMap,
        Self::PersistentVolumeClaim,
        Self::Service,
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
    ];

    /// Name as in `kind:`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// API group; empty for the core group.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::ConfigMap | Self::PersistentVolumeClaim | Self::Service => "",
            Self::Deployment => "apps",
            Self::HorizontalPodAutoscaler => "autoscaling",
            Self::PodDisruptionBudget => "policy",
        }
    }

    /// API version within the group.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::HorizontalPodAutoscaler => "v2",
            Self::ConfigMap
            | Self::PersistentVolumeClaim
            | Self::Service
            | Self::Deployment
            | Self::PodDisruptionBudget => "v1",
        }
    }

    /// As in `apiVersion:`.
    #[must_use]
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// Plural, as in the API path.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::Service => "services",
            Self::Deployment => "deployments",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
        }
    }

    /// The child kind of a `kind:`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A link between two kinds by a name in the spec: a change of one marks the other dirty, and each
/// sees the other in its Observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kind whose spec names the other.
    pub from: Kind,
    /// JSON pointer to the name.
    pub pointer: &'static str,
    /// The kind that is named, in the same namespace.
    pub to: Kind,
}

/// All links.
pub const LINKS: [Link; 2] = [
    Link {
        from: Kind::PortfolioApp,
        pointer: "/spec/migrations/name",
        to: Kind::DatabaseMigration,
    },
    Link {
        from: Kind::DatabaseMigration,
        pointer: "/spec/app",
        to: Kind::PortfolioApp,
    },
];

/// A text that never travels: the watcher replaces it by `{"size": bytes, "sha256": hex}` at the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedText {
    /// The kind that holds it.
    pub kind: Kind,
    /// JSON pointer to the list.
    pub list: &'static str,
    /// Field of each entry of the list.
    pub field: &'static str,
}

/// All texts that travel as size and hash.
pub const HASHED_TEXTS: [HashedText; 1] = [HashedText {
    kind: Kind::DatabaseMigration,
    list: "/spec/files",
    field: "sql",
}];
