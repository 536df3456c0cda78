//! Makes the keys, certificates, tokens and kubeconfigs of one cluster.
//!
//! Decides who may speak to the API server: each identity has one bearer token, and no client
//! certificate exists. Never reuses a token across starts.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::error::DevClusterError;
use crate::folder::Folder;
use crate::go_build::file_error;
use crate::options::Identity;

/// The user with all rights that every cluster has.
pub(crate) const ADMIN: &str = "admin";
/// User of the controller manager.
pub(crate) const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// User of the scheduler.
pub(crate) const SCHEDULER: &str = "system:kube-scheduler";
/// User of kwok.
pub(crate) const KWOK: &str = "system:kwok";

/// One user, its token and its kubeconfig.
#[derive(Debug)]
struct Credential {
    user: String,
    groups: Vec<String>,
    token: String,
    kubeconfig: PathBuf,
}

/// Paths of keys and certificates, and all tokens.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) ca: PathBuf,
    pub(crate) serving_certificate: PathBuf,
    pub(crate) serving_key: PathBuf,
    pub(crate) service_account_key: PathBuf,
    pub(crate) service_account_public_key: PathBuf,
    pub(crate) token_file: PathBuf,
    users: Vec<Credential>,
}

impl Credentials {
    /// Makes everything that does not depend on ports.
    pub(crate) fn create(
        folder: &Folder,
        identities: &[Identity],
    ) -> Result<Self, DevClusterError> {
        let ca = authority()?;
        let serving_key = KeyPair::generate()?;
        let names = [
            "localhost",
            "127.0.0.1",
            "kubernetes",
            "kubernetes.default.svc",
        ];
        let mut serving = CertificateParams::new(names.map(str::to_owned).to_vec())?;
        serving
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        let serving = serving.signed_by(&serving_key, &ca)?;

        let mut users = Vec::new();
        let servers = [ADMIN, CONTROLLER_MANAGER, SCHEDULER, KWOK].map(|user| Identity {
            user: user.to_owned(),
            groups: vec!["system:masters".to_owned()],
        });
        for (index, identity) in servers.iter().chain(identities).enumerate() {
            let file: String = identity
                .user
                .chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || c == '-' {
                        c
                    } else {
                        '_'
                    }
                })
                .collect();
            users.push(Credential {
                user: identity.user.clone(),
                groups: identity.all_groups(),
                token: random_hex(16)?,
                kubeconfig: folder.join("kubeconfig").join(format!("{index}-{file}")),
            });
        }
        let [service_account_key, service_account_public_key] = service_account_keys(folder)?;
        Ok(Self {
            ca: folder.write("keys/ca.crt", &ca.pem())?,
            serving_certificate: folder.write("keys/apiserver.crt", &serving.pem())?,
            serving_key: folder.write("keys/apiserver.key", &serving_key.serialize_pem())?,
            service_account_key,
            service_account_public_key,
            token_file: folder.write("keys/tokens.csv", &token_lines(&users))?,
            users,
        })
    }

    /// Writes one kubeconfig per user.
    pub(crate) fn write_kubeconfigs(
        &self,
        folder: &Folder,
        api_url: &str,
    ) -> Result<(), DevClusterError> {
        for user in &self.users {
            let text = kubeconfig(user, api_url, &self.ca);
            let name = user
                .kubeconfig
                .file_name()
                .unwrap_or_default()
                .to_string_lossy();
            folder.write(&format!("kubeconfig/{name}"), &text)?;
        }
        Ok(())
    }

    /// The kubeconfig of `user`.
    pub(crate) fn kubeconfig(&self, user: &str) -> Result<&Path, DevClusterError> {
        self.find(user).map(|found| found.kubeconfig.as_path())
    }

    /// The bearer token of `user`.
    pub(crate) fn token(&self, user: &str) -> Result<&str, DevClusterError> {
        self.find(user).map(|found| found.token.as_str())
    }

    fn find(&self, user: &str) -> Result<&Credential, DevClusterError> {
        self.users
            .iter()
            .find(|known| known.user == user)
            .ok_or_else(|| DevClusterError::UnknownIdentity {
                user: user.to_owned(),
            })
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, DevClusterError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
        .distinguished_name
        .push(DnType::CommonName, "signalbox-devcluster");
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// The keys that sign and check service-account tokens; kept, so that tokens outlive a restart.
fn service_account_keys(folder: &Folder) -> Result<[PathBuf; 2], DevClusterError> {
    let files = ["keys/service-account.key", "keys/service-account.pub"];
    let paths = files.map(|file| folder.join(file));
    if !paths.iter().all(|path| path.is_file()) {
        let key = KeyPair::generate()?;
        let [private, public] = files;
        folder.write(private, &key.serialize_pem())?;
        folder.write(public, &key.public_key_pem())?;
    }
    Ok(paths)
}

fn token_lines(users: &[Credential]) -> String {
    let mut lines = String::new();
    for user in users {
        let groups = user.groups.join(",");
        // Writing to a string cannot fail.
        let _ = writeln!(
            lines,
            "{},{},{},\"{groups}\"",
            user.token, user.user, user.user
        );
    }
    lines
}

fn kubeconfig(user: &Credential, api_url: &str, ca: &Path) -> String {
    // JSON is YAML, and quoting is right by construction.
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "devcluster",
        "clusters": [{
            "name": "devcluster",
            "cluster": { "server": api_url, "certificate-authority": ca },
        }],
        "users": [{ "name": user.user, "user": { "token": user.token } }],
        "contexts": [{
            "name": "devcluster",
            "context": { "cluster": "devcluster", "user": user.user },
        }],
    })
    .to_string()
}

/// `bytes` random bytes in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String, DevClusterError> {
    let mut buffer = vec![0_u8; bytes];
    fill(&mut buffer)?;
    Ok(buffer.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// A random number.
pub(crate) fn random_number() -> Result<u16, DevClusterError> {
    let mut buffer = [0_u8; 2];
    fill(&mut buffer)?;
    Ok(u16::from_ne_bytes(buffer))
}

fn fill(buffer: &mut [u8]) -> Result<(), DevClusterError> {
    let source = Path::new("/dev/urandom");
    File::open(source)
        .and_then(|mut file| file.read_exact(buffer))
        .map_err(file_error(source))
}
