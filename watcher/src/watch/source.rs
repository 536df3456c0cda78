//! What is watched, and how it is reached.

use kube::api::ApiResource;
use signalbox_common::kinds::{ChildKind, Kind};
use signalbox_crds::names::{LABEL_OWNER, LABEL_STEP};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A custom resource of ours.
    Custom(Kind),
    /// A kind of child: those with the label of an owner.
    Child(ChildKind),
    /// Leases of steps: those with the label of a step.
    Leases,
}

impl Source {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let kinds = Kind::ALL.into_iter().map(Self::Custom);
        kinds
            .chain(ChildKind::ALL.into_iter().map(Self::Child))
            .chain([Self::Leases])
            .collect()
    }

    /// As in `kind:`.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Custom(kind) => kind.as_str(),
            Self::Child(kind) => kind.as_str(),
            Self::Leases => "Lease",
        }
    }

    /// How it is reached.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        let (group, version, plural) = match self {
            Self::Custom(kind) => (
                signalbox_crds::GROUP,
                signalbox_crds::VERSION,
                kind.plural(),
            ),
            Self::Child(kind) => (kind.group(), kind.version(), kind.plural()),
            Self::Leases => ("coordination.k8s.io", "v1", "leases"),
        };
        let api_version = if group.is_empty() {
            version.to_owned()
        } else {
            format!("{group}/{version}")
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.kind().to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// The label that what is watched has.
    #[must_use]
    pub const fn label(self) -> Option<&'static str> {
        match self {
            Self::Custom(_) => None,
            Self::Child(_) => Some(LABEL_OWNER),
            Self::Leases => Some(LABEL_STEP),
        }
    }
}
