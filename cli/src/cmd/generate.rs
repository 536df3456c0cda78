//! `signalbox generate`: writes deploy/generated, or with `--check` tells whether it is current.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use signalbox_common::bus::rights::{Role, server_config};
use signalbox_common::rights::{rbac_yaml, tenant_yaml};

use super::print;
use crate::error::CliError;

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of deployment files.
    #[arg(long, default_value = "deploy")]
    folder: PathBuf,
    /// Write nothing; fail if a file is not current.
    #[arg(long)]
    check: bool,
}

/// All generated files: path below the folder, and content.
pub fn files() -> Result<Vec<(&'static str, String)>, CliError> {
    let crds = signalbox_crds::yaml().map_err(|error| CliError::Document {
        what: "the definitions of the kinds",
        reason: error.to_string(),
    })?;
    let tenant = format!(
        "# Made from common/src/rights.rs; do not edit. What a tenant applies so that its migrations and\n\
         # secret references work: the executor may `get` the Secrets that are named, nothing else.\n{}",
        tenant_yaml("shop", &["shop-db"])
    );
    Ok(vec![
        ("generated/crds.yaml", crds),
        ("generated/rbac.yaml", rbac_yaml()),
        ("generated/nats.conf", nats_conf()),
        ("examples/tenant-rbac.yaml", tenant),
    ])
}

/// The server's configuration, with the public keys to come from its environment.
fn nats_conf() -> String {
    let users: Vec<(Role, String)> = Role::OWN
        .into_iter()
        .chain([Role::Trigger {
            tenant: "ci".to_owned(),
        }])
        .map(|role| {
            let variable = format!("$SIGNALBOX_NKEY_{}", role.label().to_uppercase());
            (role, variable)
        })
        .collect();
    format!(
        "# Made from common/src/bus/rights.rs; do not edit. The public nkeys come from the environment;\n\
         # `nsc generate nkey --user` or `nk -gen user -pubout` makes a pair for each.\n\
         listen: \"0.0.0.0:4222\"\nmonitor_port: 8222\n\
         jetstream {{\n  store_dir: \"/data\"\n}}\n{}",
        server_config(&users)
    )
}

/// Writes or checks all files.
pub fn run(args: &Args) -> Result<ExitCode, CliError> {
    let mut stale = Vec::new();
    for (name, content) in files()? {
        let path = args.folder.join(name);
        if args.check {
            if std::fs::read_to_string(&path).unwrap_or_default() != content {
                stale.push(path.display().to_string());
            }
        } else {
            write(&path, &content)?;
            print(&[path.display().to_string()]);
        }
    }
    if stale.is_empty() {
        Ok(ExitCode::SUCCESS)
    } else {
        Err(CliError::NotCurrent(stale.join(", ")))
    }
}

fn write(path: &Path, content: &str) -> Result<(), CliError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(CliError::file("make", folder))?;
    }
    std::fs::write(path, content).map_err(CliError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_tree_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        for (name, content) in files().unwrap() {
            let found = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert_eq!(
                found, content,
                "deploy/{name} is not current: make generate"
            );
        }
    }
}
