//! Identities on the bus for one local setup, and the keys that messages are signed with: made at start.
//!
//! Seeds are files in the setup's own folder, readable by their owner only.

use std::path::{Path, PathBuf};

use signalbox_common::bus::rights::{Role, new_identity, server_config};
use signalbox_common::bus::signature::{SigningKeys, new_keys};

use crate::error::CliError;

/// Tenant that sends triggers in the local setup.
pub(super) const TENANT: &str = "ci";

/// Seeds by role; not written anywhere yet.
pub(super) struct Keys {
    seeds: Vec<(Role, String)>,
    signing: SigningKeys,
    config: String,
}

impl Keys {
    /// Makes a key for every role.
    pub(super) fn create() -> Result<Self, CliError> {
        let tenant = Role::Trigger {
            tenant: TENANT.to_owned(),
        };
        let mut seeds = Vec::new();
        let mut users = Vec::new();
        for role in Role::OWN.into_iter().chain([tenant]) {
            let (seed, public) = new_identity()?;
            seeds.push((role.clone(), seed));
            users.push((role, public));
        }
        Ok(Self {
            seeds,
            signing: new_keys()?,
            config: server_config(&users),
        })
    }

    /// What nats-server must be told.
    #[must_use]
    pub(super) fn server_config(&self) -> String {
        self.config.clone()
    }

    /// Writes the seeds into `folder`, one file a role.
    pub(super) fn write(&self, folder: &Path) -> Result<(), CliError> {
        std::fs::create_dir_all(folder).map_err(CliError::file("make", folder))?;
        for (role, seed) in &self.seeds {
            let path = file(folder, role);
            private(&path, seed).map_err(CliError::file("write", &path))?;
        }
        for (role, seed) in &self.signing.seeds {
            let path = signing_file(folder, role);
            private(&path, seed).map_err(CliError::file("write", &path))?;
        }
        let path = trusted_file(folder);
        std::fs::write(&path, &self.signing.trusted).map_err(CliError::file("write", &path))
    }
}

/// The file of a role's seed.
#[must_use]
pub(super) fn file(folder: &Path, role: &Role) -> PathBuf {
    folder.join(format!("{}.nk", role.label()))
}

/// The file of the seed that a role signs with.
#[must_use]
pub(super) fn signing_file(folder: &Path, role: &Role) -> PathBuf {
    folder.join(format!("{}.sign.nk", role.label()))
}

/// The file of the keys that are trusted.
#[must_use]
pub(super) fn trusted_file(folder: &Path) -> PathBuf {
    folder.join("trusted.keys")
}

fn private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}
