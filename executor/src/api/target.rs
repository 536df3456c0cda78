//! What a request is about: the path of an object, from the closed sets of kinds.
//!
//! Everything is in one namespace, that of the plan; a cluster-scoped object can't be expressed.

use signalbox_common::kinds::{ChildKind, Kind};

/// An object, or a subresource of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Path of the API version: `/api/v1`, `/apis/apps/v1`.
    base: String,
    /// Plural, as in the path.
    plural: &'static str,
    /// Kind, as in `kind:`.
    pub(crate) kind: &'static str,
    /// Namespace.
    pub(crate) namespace: String,
    /// Name.
    pub(crate) name: String,
    /// `status`, `scale`; empty: the object itself.
    subresource: &'static str,
}

impl Target {
    fn of(
        group: &str,
        version: &str,
        plural: &'static str,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Self {
        let base = if group.is_empty() {
            format!("/api/{version}")
        } else {
            format!("/apis/{group}/{version}")
        };
        Self {
            base,
            plural,
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: "",
        }
    }

    /// A child.
    pub(crate) fn child(kind: ChildKind, namespace: &str, name: &str) -> Self {
        Self::of(
            kind.group(),
            kind.version(),
            kind.plural(),
            kind.as_str(),
            namespace,
            name,
        )
    }

    /// A custom resource of ours.
    pub(crate) fn object(kind: Kind, namespace: &str, name: &str) -> Self {
        let (group, version) = (signalbox_crds::GROUP, signalbox_crds::VERSION);
        Self::of(
            group,
            version,
            kind.plural(),
            kind.as_str(),
            namespace,
            name,
        )
    }

    /// An Event of `events.k8s.io/v1`.
    pub(crate) fn event(namespace: &str, name: &str) -> Self {
        Self::of("events.k8s.io", "v1", "events", "Event", namespace, name)
    }

    /// A Lease.
    pub(crate) fn lease(namespace: &str, name: &str) -> Self {
        Self::of(
            "coordination.k8s.io",
            "v1",
            "leases",
            "Lease",
            namespace,
            name,
        )
    }

    /// A Secret; only its digests may leave the executor.
    pub(crate) fn secret(namespace: &str, name: &str) -> Self {
        Self::of("", "v1", "secrets", "Secret", namespace, name)
    }

    /// A kind of ours or a child kind by its name, as guards have it.
    pub(crate) fn named(kind: &str, namespace: &str, name: &str) -> Option<Self> {
        let ours = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
        ours.map(|kind| Self::object(kind, namespace, name))
            .or_else(|| ChildKind::parse(kind).map(|kind| Self::child(kind, namespace, name)))
    }

    /// The same object's subresource.
    pub(crate) fn sub(&self, subresource: &'static str) -> Self {
        Self {
            subresource,
            ..self.clone()
        }
    }

    /// The same without a subresource.
    pub(crate) fn whole(&self) -> Self {
        self.sub("")
    }

    /// Path of the object.
    pub(crate) fn path(&self) -> String {
        let path = format!("{}/{}", self.collection(), self.name);
        match self.subresource {
            "" => path,
            sub => format!("{path}/{sub}"),
        }
    }

    /// Path of the collection, for a POST.
    pub(crate) fn collection(&self) -> String {
        format!(
            "{}/namespaces/{}/{}",
            self.base, self.namespace, self.plural
        )
    }

    /// API group; empty for the core group.
    pub(crate) fn group(&self) -> &str {
        let base = self.base.strip_prefix("/apis/").unwrap_or_default();
        base.split_once('/').map_or("", |(group, _)| group)
    }

    /// Verb and resource, for people: `patch portfolioapps/status web`.
    pub(crate) fn what(&self, verb: &str) -> String {
        format!("{verb} {} {}", self.resource(), self.name)
    }

    /// The resource as a rule of rights names it: `portfolioapps/status`.
    pub(crate) fn resource(&self) -> String {
        match self.subresource {
            "" => self.plural.to_owned(),
            sub => format!("{}/{sub}", self.plural),
        }
    }
}

/// Whether `text` can stand in a path as one name.
pub(crate) fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(plain)
        && !text.contains("..")
        && text.as_bytes().first().is_some_and(|b| *b != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_children_objects_and_subresources() {
        let service = Target::child(ChildKind::Service, "team-a", "web");
        assert_eq!(service.path(), "/api/v1/namespaces/team-a/services/web");
        let app = Target::object(Kind::PortfolioApp, "team-a", "web").sub("status");
        assert_eq!(
            app.path(),
            "/apis/signalbox.dev/v1alpha1/namespaces/team-a/portfolioapps/web/status"
        );
        assert_eq!(app.what("patch"), "patch portfolioapps/status web");
        assert_eq!(app.whole().what("get"), "get portfolioapps web");
    }

    #[test]
    fn only_known_kinds_can_be_named() {
        assert!(Target::named("Deployment", "n", "x").is_some());
        assert!(Target::named("DatabaseMigration", "n", "x").is_some());
        assert!(Target::named("Secret", "n", "x").is_none());
        assert!(Target::named("Namespace", "n", "x").is_none());
    }

    #[test]
    fn a_name_never_leaves_its_place_in_the_path() {
        assert!(is_name("web-5f.v2"));
        for bad in ["", "a/b", "..", "a..b", "A", "a?x=1", "a%2Fb", ".a"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
