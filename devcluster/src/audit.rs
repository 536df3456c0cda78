//! The audit policy of the API server.
//!
//! Decides what the audit log holds: every request of the parts under test, with bodies of writes.
//! Never logs what the control plane reads for itself, nor its leases: they would bury the rest.

use std::ffi::OsString;
use std::path::Path;

/// Text of the policy file.
pub(crate) const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kwok"]
  verbs: [get, list, watch]
- level: Metadata
  userGroups: ["system:serviceaccounts"]
  resources: [{ group: coordination.k8s.io, resources: [leases] }]
- level: None
  resources: [{ group: coordination.k8s.io, resources: [leases] }]
- level: None
  nonResourceURLs: ["/readyz*", "/livez*", "/healthz*", "/version", "/openapi*"]
- level: Metadata
  resources: [{ group: "", resources: [secrets] }]
- level: Request
  verbs: [create, update, patch, delete, deletecollection]
- level: Metadata
"#;

/// Flags that make the API server write `log` before it answers, without rotation.
pub(crate) fn flags(policy: &Path, log: &Path) -> Vec<OsString> {
    let with = |flag: &str, path: &Path| {
        let mut text = OsString::from(flag);
        text.push(path);
        text
    };
    vec![
        with("--audit-policy-file=", policy),
        with("--audit-log-path=", log),
        "--audit-log-mode=blocking".into(),
        "--audit-log-maxsize=100000".into(),
    ]
}
