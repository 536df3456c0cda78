//! What each part may do at the API server: one table, from which deploy/generated/rbac.yaml is made.
//!
//! Decides the rights of service accounts. Never grants anybody `get` on Secrets across the cluster:
//! the executor reads those of a tenant's namespace only where that tenant says so ([`tenant_yaml`]).

use std::fmt::Write as _;

use signalbox_crds::GROUP;
use signalbox_crds::names::OPERATOR_NAMESPACE;

use crate::kinds::{ChildKind, Kind};

/// An identity at the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// Watches; writes its Lease only.
    Watcher,
    /// Never speaks to the API server.
    Planner,
    /// Writes.
    Executor,
    /// A person's or a CI job's command line: reads.
    Reader,
}

impl Component {
    /// All components, in order.
    pub const ALL: [Self; 4] = [Self::Watcher, Self::Planner, Self::Executor, Self::Reader];

    /// Name of its service account.
    #[must_use]
    pub const fn account(self) -> &'static str {
        match self {
            Self::Watcher => "watcher",
            Self::Planner => "planner",
            Self::Executor => "executor",
            Self::Reader => "reader",
        }
    }

    /// Its user name at the API server.
    #[must_use]
    pub fn user(self) -> String {
        format!(
            "system:serviceaccount:{OPERATOR_NAMESPACE}:{}",
            self.account()
        )
    }

    /// Its rights in all namespaces.
    #[must_use]
    pub fn rules(self) -> Vec<Rule> {
        match self {
            Self::Watcher => watcher(),
            Self::Planner => Vec::new(),
            Self::Executor => executor(),
            Self::Reader => reader(),
        }
    }

    /// Its further rights in the operator's own namespace.
    #[must_use]
    pub fn own_rules(self) -> Vec<Rule> {
        match self {
            // The Lease by which one of several watchers leads.
            Self::Watcher => {
                vec![rule(
                    "coordination.k8s.io",
                    "leases",
                    None,
                    &["get", "create", "update"],
                )]
            }
            Self::Planner | Self::Executor | Self::Reader => Vec::new(),
        }
    }
}

/// One right: verbs on one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Plural of the resource.
    pub resource: &'static str,
    /// Subresource, if it is about one.
    pub subresource: Option<&'static str>,
    /// What may be done.
    pub verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const WATCH: &[&str] = &["list", "watch"];

const fn rule(
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    verbs: &'static [&'static str],
) -> Rule {
    Rule {
        group,
        resource,
        subresource,
        verbs,
    }
}

fn watcher() -> Vec<Rule> {
    let kinds = Kind::ALL
        .into_iter()
        .map(|kind| rule(GROUP, kind.plural(), None, WATCH));
    let children = ChildKind::ALL
        .into_iter()
        .map(|kind| rule(kind.group(), kind.plural(), None, WATCH));
    kinds
        .chain(children)
        .chain([rule("coordination.k8s.io", "leases", None, WATCH)])
        .collect()
}

/// Reads are of whole objects: behind a conflict, a lost answer or a guard. An apply that creates needs
/// `create` too; a replacement is an `update`.
fn executor() -> Vec<Rule> {
    const CHILD: &[&str] = &["get", "create", "patch", "update", "delete"];
    let mut rules = Vec::new();
    for kind in Kind::ALL {
        rules.push(rule(GROUP, kind.plural(), None, &["get", "patch"]));
        rules.push(rule(GROUP, kind.plural(), Some("status"), &["patch"]));
        // Where the cluster asks for it before somebody may set a blocking owner reference.
        rules.push(rule(GROUP, kind.plural(), Some("finalizers"), &["update"]));
    }
    rules.extend(
        ChildKind::ALL
            .into_iter()
            .map(|kind| rule(kind.group(), kind.plural(), None, CHILD)),
    );
    rules.push(rule("apps", "deployments", Some("scale"), &["update"]));
    rules.push(rule(
        "coordination.k8s.io",
        "leases",
        None,
        &["get", "create", "patch", "delete"],
    ));
    rules.push(rule("events.k8s.io", "events", None, &["create"]));
    rules
}

/// What the command line draws.
fn reader() -> Vec<Rule> {
    let kinds = Kind::ALL
        .into_iter()
        .map(|kind| rule(GROUP, kind.plural(), None, READ));
    let drawn = [
        rule("apps", "deployments", None, WATCH),
        rule("", "pods", None, WATCH),
    ];
    kinds.chain(drawn).collect()
}

/// Namespace, service accounts, roles and bindings: the content of deploy/generated/rbac.yaml.
#[must_use]
pub fn rbac_yaml() -> String {
    let mut text = String::from("# Made from common/src/rights.rs; do not edit.\n");
    // Writing to a String can't fail.
    let _ = write!(
        text,
        "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: {OPERATOR_NAMESPACE}\n"
    );
    for component in Component::ALL {
        let name = component.account();
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: {name}\n  \
             namespace: {OPERATOR_NAMESPACE}\nautomountServiceAccountToken: {}\n",
            !component.rules().is_empty(),
        );
        role(
            &mut text,
            None,
            &format!("signalbox-{name}"),
            &component.rules(),
        );
        bind(&mut text, None, &format!("signalbox-{name}"), component);
        let own = component.own_rules();
        role(
            &mut text,
            Some(OPERATOR_NAMESPACE),
            &format!("signalbox-{name}"),
            &own,
        );
        if !own.is_empty() {
            bind(
                &mut text,
                Some(OPERATOR_NAMESPACE),
                &format!("signalbox-{name}"),
                component,
            );
        }
    }
    text
}

/// The documents by which a tenant lets the executor read Secrets of `namespace`: those named, or
/// all of the namespace if none is named.
#[must_use]
pub fn tenant_yaml(namespace: &str, secrets: &[&str]) -> String {
    let name = "signalbox-executor-secrets";
    let names = if secrets.is_empty() {
        String::new()
    } else {
        format!("\n    resourceNames: [{}]", quoted(secrets))
    };
    let mut text = format!(
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata:\n  name: {name}\n  \
         namespace: {namespace}\nrules:\n  - apiGroups: [\"\"]\n    resources: [\"secrets\"]{names}\n    \
         verbs: [\"get\"]\n"
    );
    bind(&mut text, Some(namespace), name, Component::Executor);
    text
}

fn role(text: &mut String, namespace: Option<&str>, name: &str, rules: &[Rule]) {
    if rules.is_empty() {
        return;
    }
    head(
        text,
        if namespace.is_some() {
            "Role"
        } else {
            "ClusterRole"
        },
        namespace,
        name,
    );
    text.push_str("rules:\n");
    for rule in rules {
        let resource = rule.subresource.map_or_else(
            || rule.resource.to_owned(),
            |sub| format!("{}/{sub}", rule.resource),
        );
        let _ = write!(
            text,
            "  - apiGroups: [\"{}\"]\n    resources: [\"{resource}\"]\n    verbs: [{}]\n",
            rule.group,
            quoted(rule.verbs)
        );
    }
}

fn bind(text: &mut String, namespace: Option<&str>, name: &str, component: Component) {
    if namespace.is_none() && component.rules().is_empty() {
        return;
    }
    let (binding, role) = if namespace.is_some() {
        ("RoleBinding", "Role")
    } else {
        ("ClusterRoleBinding", "ClusterRole")
    };
    head(text, binding, namespace, name);
    let _ = write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {role}\n  name: {name}\nsubjects:\n  \
         - kind: ServiceAccount\n    name: {}\n    namespace: {OPERATOR_NAMESPACE}\n",
        component.account()
    );
}

fn head(text: &mut String, kind: &str, namespace: Option<&str>, name: &str) {
    let _ = write!(
        text,
        "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n"
    );
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "  namespace: {namespace}");
    }
}

fn quoted(words: &[&str]) -> String {
    words
        .iter()
        .map(|word| format!("\"{word}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reads_secrets_across_the_cluster() {
        let all = Component::ALL
            .into_iter()
            .flat_map(|c| [c.rules(), c.own_rules()].concat());
        assert!(all.into_iter().all(|rule| rule.resource != "secrets"));
        assert!(!rbac_yaml().contains("secrets"));
        assert!(tenant_yaml("shop", &["db"]).contains("resourceNames: [\"db\"]"));
    }

    #[test]
    fn only_the_executor_writes_besides_the_watchers_own_lease() {
        for component in [Component::Watcher, Component::Planner, Component::Reader] {
            assert!(
                component
                    .rules()
                    .iter()
                    .all(|rule| [READ, WATCH].contains(&rule.verbs)),
                "{component:?}"
            );
        }
        let own = Component::Watcher.own_rules();
        assert!(own.iter().all(|rule| rule.resource == "leases"));
        assert!(Component::Planner.rules().is_empty());
    }

    #[test]
    fn no_verb_is_a_wildcard() {
        assert!(!rbac_yaml().contains('*'));
    }
}
