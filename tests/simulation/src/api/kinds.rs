//! The resources that the model serves, and how each of them behaves.
//!
//! Only what the parts use. What is not here is 404, as a kind that is not installed.

use std::cmp::Ordering;

/// A resource; its kind alone tells it from the others.
#[derive(Debug)]
pub struct Resource {
    /// Group; empty: core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, as in the path.
    pub plural: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether the server counts a generation.
    pub generation: bool,
    /// Whether it has a status of its own.
    pub status: bool,
    /// Whether it is one of ours: an update must name the version it rests on.
    pub custom: bool,
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for Resource {}

impl PartialOrd for Resource {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Resource {
    fn cmp(&self, other: &Self) -> Ordering {
        self.kind.cmp(other.kind)
    }
}

impl Resource {
    /// As in `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// The resource that a path names.
    #[must_use]
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        let is = |r: &&Self| r.group == group && r.version == version && r.plural == plural;
        RESOURCES.iter().find(is)
    }

    /// The resource of a kind.
    #[must_use]
    pub fn of_kind(kind: &str) -> Option<&'static Self> {
        RESOURCES.iter().find(|resource| resource.kind == kind)
    }
}

const fn builtin(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    generation: bool,
    status: bool,
) -> Resource {
    Resource {
        group,
        version,
        plural,
        kind,
        generation,
        status,
        custom: false,
    }
}

const fn ours(plural: &'static str, kind: &'static str) -> Resource {
    Resource {
        group: signalbox_crds::GROUP,
        version: signalbox_crds::VERSION,
        plural,
        kind,
        generation: true,
        status: true,
        custom: true,
    }
}

/// All of them.
pub static RESOURCES: &[Resource] = &[
    ours("portfolioapps", "PortfolioApp"),
    ours("databasemigrations", "DatabaseMigration"),
    builtin("", "v1", "configmaps", "ConfigMap", false, false),
    builtin("", "v1", "secrets", "Secret", false, false),
    builtin("", "v1", "services", "Service", false, true),
    builtin(
        "",
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        false,
        true,
    ),
    builtin("apps", "v1", "deployments", "Deployment", true, true),
    builtin(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        false,
        true,
    ),
    builtin(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        true,
        true,
    ),
    builtin("coordination.k8s.io", "v1", "leases", "Lease", false, false),
    builtin("events.k8s.io", "v1", "events", "Event", false, false),
];
