//! The example app: its documents, and what changes in the course of the demo.
//!
//! Decides nothing about how a release goes.

use signalbox_common::rights::tenant_yaml;

use super::setup::World;
use crate::error::CliError;

/// Namespace of the example.
pub(super) const NAMESPACE: &str = "shop";
/// Name of the migration.
pub(super) const MIGRATION: &str = "shop-schema";
/// Name of the app.
pub(super) const APP: &str = "shop";
/// Pods that the app wants.
pub(super) const REPLICAS: i64 = 4;
/// Image of the second release.
pub(super) const SECOND_IMAGE: &str = "example.com/shop:2";
/// An image that never becomes ready.
pub(super) const BAD_IMAGE: &str = "example.com/shop:3-broken";
/// Image that the trigger asks for.
pub(super) const FOURTH_IMAGE: &str = "example.com/shop:4";

const FIRST: &str = include_str!("../../../deploy/examples/shop.yaml");
const SECOND: &str = include_str!("../../../deploy/examples/shop-release-2.yaml");
/// URL in the example's Secret that stands for the real one.
const URL: &str = "postgres://postgres:postgres@postgres.shop:5432/shop";

/// Applies the first release, with the URL of the database that was started.
pub(super) async fn apply(world: &World) -> Result<(), CliError> {
    let documents = FIRST.replace(URL, &world.database);
    let (namespace, rest) = documents.split_once("---\n").unwrap_or((&documents, ""));
    world.cluster.apply(namespace).await?;
    world
        .cluster
        .apply(&tenant_yaml(NAMESPACE, &["shop-db"]))
        .await?;
    world.cluster.apply(rest).await?;
    Ok(())
}

/// Applies the files of the second release, before anything asks for them.
pub(super) async fn apply_second_files(world: &World) -> Result<(), CliError> {
    world.cluster.apply(second().0).await?;
    Ok(())
}

/// Applies the app of the second release.
pub(super) async fn apply_second_app(world: &World) -> Result<(), CliError> {
    world.cluster.apply(second().1).await?;
    Ok(())
}

/// Migration and app of the second release.
fn second() -> (&'static str, &'static str) {
    SECOND.split_once("---\n").unwrap_or((SECOND, ""))
}

/// What a person does with kubectl.
pub(super) async fn set_image(world: &World, image: &str) -> Result<(), CliError> {
    let patch = serde_json::json!({ "spec": { "image": image } }).to_string();
    let arguments = [
        "patch",
        "papp",
        APP,
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        &patch,
    ];
    world.cluster.kubectl(&arguments).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_name_what_the_demo_expects() {
        assert!(FIRST.contains(URL), "the database's URL is replaced");
        assert!(FIRST.contains(&format!("replicas: {REPLICAS}")));
        assert!(second().0.contains("V3__") && second().1.contains(SECOND_IMAGE));
        for text in [FIRST, SECOND] {
            assert!(text.contains(&format!("name: {APP}\n  namespace: {NAMESPACE}")));
        }
    }
}
