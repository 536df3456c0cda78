//! The `ConfigMap` that a migration names: its files as names, sizes and hashes in the status.
//!
//! A file that is not there is left out; what that means is planned.

use serde_json::{Value, json};
use signalbox_common::class::ErrorClass;
use signalbox_common::digest;
use signalbox_common::kinds::ChildKind;
use signalbox_common::wire::action::ResolveSource;
use signalbox_crds::migration::{FileDigest, SourceStatus};

use crate::api::Target;
use crate::api::target::is_name;
use crate::context::{Applied, PlanContext};
use crate::error::ActionError;

/// Reads the `ConfigMap` and writes the digests into the status.
pub(crate) async fn resolve(
    ctx: &PlanContext,
    wanted: &ResolveSource,
) -> Result<Applied, ActionError> {
    let name = &wanted.config_map;
    if !is_name(name) {
        let message = format!("{name:?} is no name of a ConfigMap");
        return Err(ActionError::new(ErrorClass::Invalid, message));
    }
    let target = Target::child(ChildKind::ConfigMap, &ctx.key.namespace, name);
    let Some(live) = ctx.api.get(&target).await? else {
        let message = format!("ConfigMap {name} does not exist");
        return Err(ActionError::new(ErrorClass::Missing, message));
    };
    let source = SourceStatus {
        config_map: name.clone(),
        for_generation: wanted.for_generation,
        files: files(&live, &wanted.files),
    };
    let fence = (wanted.resource_version.as_str(), wanted.seen.as_str());
    super::write(ctx, fence, "source", json!(source)).await
}

fn files(live: &Value, names: &[String]) -> Vec<FileDigest> {
    let text = |name: &String| live.get("data")?.get(name)?.as_str();
    let mut files: Vec<FileDigest> = names
        .iter()
        .filter_map(|name| {
            let text = text(name)?;
            Some(FileDigest {
                name: name.clone(),
                size: i64::try_from(text.len()).unwrap_or(i64::MAX),
                sha256: digest::sha256_hex(text.as_bytes()),
            })
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_name_size_and_hash_and_missing_ones_are_left_out() {
        let live = json!({ "data": { "b": "select 1", "c": "never asked for" } });
        let found = files(&live, &["a".to_owned(), "b".to_owned()]);
        let wanted = FileDigest {
            name: "b".to_owned(),
            size: 8,
            sha256: digest::sha256_hex(b"select 1"),
        };
        assert_eq!(found, [wanted]);
    }
}
