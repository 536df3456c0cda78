//! Finds each server program: one already on the machine if its version fits, else the pinned one.
//!
//! Never mixes Kubernetes programs of two places: a controller manager must not be newer than its
//! API server, so the whole group comes from one folder or from the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::DevClusterError;
use crate::go_build;
use crate::progress::ProgressSink;
use crate::servers::Tool;

/// Paths of all `tools`, built where needed.
///
/// Looks at `KUBEBUILDER_ASSETS`, then `PATH`, then the cache; builds what is missing.
pub async fn locate(
    tools: &[Tool],
    progress: &ProgressSink,
) -> Result<BTreeMap<Tool, PathBuf>, DevClusterError> {
    let folders = folders();
    let mut found = BTreeMap::new();
    for group in groups(tools) {
        if let Some(paths) = on_machine(&group, &folders).await {
            found.extend(paths);
            continue;
        }
        for tool in group {
            found.insert(tool, go_build::build(tool, progress).await?);
        }
    }
    Ok(found)
}

/// Tools of one module belong together.
fn groups(tools: &[Tool]) -> Vec<Vec<Tool>> {
    let mut groups: Vec<(&str, Vec<Tool>)> = Vec::new();
    for tool in Tool::ALL.into_iter().filter(|tool| tools.contains(tool)) {
        let name = tool.module().name;
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(tool),
            None => groups.push((name, vec![tool])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn folders() -> Vec<PathBuf> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    assets
        .into_iter()
        .chain(std::env::split_paths(&path))
        .collect()
}

/// The first folder with the whole group in fitting versions of one minor release.
async fn on_machine(group: &[Tool], folders: &[PathBuf]) -> Option<Vec<(Tool, PathBuf)>> {
    for folder in folders {
        if !group
            .iter()
            .all(|tool| folder.join(tool.binary()).is_file())
        {
            continue;
        }
        let mut versions = Vec::new();
        for tool in group {
            versions.push(fitting(*tool, &folder.join(tool.binary())).await);
        }
        versions.dedup();
        if let [Some(_)] = versions.as_slice() {
            return Some(
                group
                    .iter()
                    .map(|tool| (*tool, folder.join(tool.binary())))
                    .collect(),
            );
        }
    }
    None
}

/// The minor release of a program that is new enough.
async fn fitting(tool: Tool, program: &Path) -> Option<(u32, u32)> {
    let version = version(tool, program).await?;
    (version >= tool.oldest()).then_some((version.0, version.1))
}

async fn version(tool: Tool, program: &Path) -> Option<(u32, u32, u32)> {
    let output = Command::new(program)
        .args(tool.version_arguments())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// The first `x.y.z` in `text`.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find_map(|word| {
            let mut numbers = word.split('.').map(|number| number.parse().ok());
            Some((numbers.next()??, numbers.next()??, numbers.next()??))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_servers_print_them() {
        let check = |text, expected| assert_eq!(parse_version(text), expected, "{text}");
        check("Kubernetes v1.36.3", Some((1, 36, 3)));
        check("etcd Version: 3.6.9\nGit SHA: 0", Some((3, 6, 9)));
        check("nats-server: v2.15.2", Some((2, 15, 2)));
        check("Client Version: v1.32.4-gke\n", Some((1, 32, 4)));
        check("no version", None);
    }

    #[test]
    fn kubernetes_programs_stay_together() {
        let groups = groups(&[Tool::KubeScheduler, Tool::Etcd, Tool::KubeApiserver]);
        assert_eq!(
            groups,
            [
                vec![Tool::Etcd],
                vec![Tool::KubeApiserver, Tool::KubeScheduler]
            ]
        );
    }
}
