//! The kinds of group `signalbox.dev`: their specs, their status, their validation.
//!
//! Decides what a user may write and what the API server stores. Knows no client, no bus and no
//! clock: everything here is data, so that every part (the pure planner too) can depend on it.

#![expect(
    unreachable_pub,
    reason = "kube's schema derive repeats the structs inside a private scope"
)]

pub mod app;
pub mod claim;
pub mod condition;
pub mod migration;
pub mod names;
pub mod reference;

pub use app::{PortfolioApp, PortfolioAppSpec, PortfolioAppStatus};
pub use migration::{DatabaseMigration, DatabaseMigrationSpec, DatabaseMigrationStatus};

/// API group of all kinds.
pub const GROUP: &str = "signalbox.dev";
/// Version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// All custom resource definitions, in name order.
///
/// The one source of deploy/generated/crds.yaml.
#[must_use]
pub fn all()
-> Vec<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>
{
    use kube::CustomResourceExt as _;
    vec![
        migration::with_defaults(DatabaseMigration::crd()),
        app::with_defaults(PortfolioApp::crd()),
    ]
}

/// All definitions as one YAML stream, in name order: the content of deploy/generated/crds.yaml.
///
/// # Errors
/// When a schema can't be written as YAML (a defect of this crate).
pub fn yaml() -> Result<String, serde_saphyr::ser::Error> {
    let mut text = String::from("# Made by crdgen from crds/src; do not edit.\n");
    for crd in all() {
        text.push_str("---\n");
        text.push_str(serde_saphyr::to_string(&crd)?.trim_start_matches("---\n"));
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}
