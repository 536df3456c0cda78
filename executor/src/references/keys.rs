//! The operator's digest keys: the first is used, the others are still valid.
//!
//! Decides a key's id and how data becomes one digest. A key is never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use signalbox_common::digest;

/// Fewest bytes of a key.
const SHORTEST: usize = 16;

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file can't be read.
    #[error("failed to read the digest key {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The key is no secret.
    #[error("the digest key {0} has fewer than {SHORTEST} bytes")]
    Short(PathBuf),
}

/// One key.
#[derive(Clone)]
pub(crate) struct DigestKey {
    id: String,
    mac: Hmac<Sha256>,
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestKey({})", self.id)
    }
}

impl DigestKey {
    /// A key from its bytes; none: it is too short.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < SHORTEST {
            return None;
        }
        let mut id = digest::sha256_hex(bytes);
        id.truncate(8);
        let mac = Hmac::<Sha256>::new_from_slice(bytes).ok()?;
        Some(Self { id, mac })
    }

    fn read(path: &Path) -> Result<Self, KeyError> {
        let bytes = std::fs::read(path).map_err(|err| KeyError::Read(path.to_owned(), err))?;
        Self::new(bytes.trim_ascii()).ok_or_else(|| KeyError::Short(path.to_owned()))
    }

    /// Its id: the first 8 hex characters of its SHA-256.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// HMAC-SHA-256 of a Secret's data, in hex. Namespace and name go in, so that equal content in
    /// two Secrets does not show.
    pub(crate) fn digest(
        &self,
        namespace: &str,
        name: &str,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> String {
        let mut mac = self.mac.clone();
        let mut part = |bytes: &[u8]| {
            mac.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            mac.update(bytes);
        };
        part(namespace.as_bytes());
        part(name.as_bytes());
        for (key, value) in data {
            part(key.as_bytes());
            part(value);
        }
        digest::hex(&mac.finalize().into_bytes())
    }
}

/// All valid keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct DigestKeys(Vec<DigestKey>);

impl DigestKeys {
    /// Reads the keys; the first file's is used.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Self, KeyError> {
        files
            .iter()
            .map(|path| DigestKey::read(path))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The key that is used.
    pub(crate) fn current(&self) -> Option<&DigestKey> {
        self.0.first()
    }

    /// The valid key of that id.
    pub(crate) fn find(&self, id: &str) -> Option<&DigestKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_digest_depends_on_key_place_and_content() {
        let key = DigestKey::new(b"0123456789abcdef").unwrap();
        let other = DigestKey::new(b"0123456789abcdeg").unwrap();
        let content = data(&[("a", "1"), ("b", "2")]);
        let digest = key.digest("n", "s", &content);
        assert_eq!(digest, key.digest("n", "s", &content));
        assert_eq!(digest.len(), 64);
        assert_ne!(digest, other.digest("n", "s", &content));
        assert_ne!(digest, key.digest("n", "t", &content));
        assert_ne!(
            digest,
            key.digest("n", "s", &data(&[("a", "1b"), ("", "2")]))
        );
        assert_ne!(
            key.digest("n", "s", &data(&[("ab", "")])),
            key.digest("n", "s", &data(&[("a", "b")]))
        );
    }

    #[test]
    fn a_key_has_an_id_and_is_never_printed() {
        let key = DigestKey::new(b"0123456789abcdef").unwrap();
        assert_eq!(key.id(), &digest::sha256_hex(b"0123456789abcdef")[..8]);
        assert_eq!(format!("{key:?}"), format!("DigestKey({})", key.id()));
        assert!(DigestKey::new(b"short").is_none());
    }

    #[test]
    fn a_missing_file_is_named() {
        let err = DigestKeys::read(&[PathBuf::from("/nowhere/key")]).unwrap_err();
        assert!(err.to_string().contains("/nowhere/key"), "{err}");
        assert!(DigestKeys::read(&[]).unwrap().current().is_none());
    }
}
