//! Who wrote what: the API server's own audit log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One write that the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// User.
    pub user: String,
    /// create, update, patch, delete.
    pub verb: String,
    /// Resource with subresource: `deployments`, `portfolioapps/status`.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// HTTP status.
    pub code: u64,
}

/// Reads the audit log from a mark on.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Audit {
    /// The log at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// A mark: everything so far.
    #[must_use]
    pub fn mark(&self) -> usize {
        std::fs::metadata(&self.path).map_or(0, |m| usize::try_from(m.len()).unwrap_or(usize::MAX))
    }

    /// Answered requests of all users since `mark`, as the log has them.
    #[must_use]
    pub fn entries_since(&self, mark: usize) -> Vec<Value> {
        let text = self.text_since(mark).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|entry| entry["stage"] == "ResponseComplete")
            .collect()
    }

    fn text_since(&self, mark: usize) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(mark as u64))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(text)
    }

    /// Answered writes of the operator's parts since `mark`, Leases of leadership apart.
    #[must_use]
    pub fn writes_since(&self, mark: usize) -> Vec<Write> {
        self.entries_since(mark)
            .iter()
            .filter_map(write)
            .filter(|w| {
                w.user
                    .starts_with("system:serviceaccount:signalbox-system:")
            })
            .filter(|w| !(w.resource == "leases" && w.namespace == "signalbox-system"))
            .collect()
    }

    /// The successful ones in one namespace, as `verb resource name`.
    #[must_use]
    pub fn done_in(&self, mark: usize, namespace: &str) -> Vec<String> {
        self.writes_since(mark)
            .into_iter()
            .filter(|w| w.namespace == namespace && w.code < 300)
            .map(|w| format!("{} {} {}", w.verb, w.resource, w.name))
            .collect()
    }
}

/// A right as the API server was asked for it: verb and `group/resource[/subresource]`.
pub type Right = (String, String);

impl Audit {
    /// The rights that `user` has used since the log began.
    ///
    /// # Panics
    /// If the user was refused one: it is asked for without being granted.
    #[must_use]
    pub fn rights_of(&self, user: &str) -> BTreeSet<Right> {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let entries = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let own = entries.filter(|entry| entry["user"]["username"] == user);
        own.flat_map(|entry| used(&entry)).collect()
    }
}

fn used(entry: &Value) -> Vec<Right> {
    let target = &entry["objectRef"];
    let Some(resource) = target["resource"].as_str() else {
        return Vec::new();
    };
    let code = entry["responseStatus"]["code"].as_u64().unwrap_or_default();
    assert_ne!(code, 403, "refused: {entry}");
    let group = target["apiGroup"].as_str().unwrap_or_default();
    let sub = target["subresource"].as_str().map(|sub| format!("/{sub}"));
    let resource = format!("{group}/{resource}{}", sub.unwrap_or_default());
    let verb = entry["verb"].as_str().unwrap_or_default().to_owned();
    // An apply that creates is asked for as a patch, and needs the right to create as well.
    let created = (verb == "patch" && code == 201).then(|| ("create".to_owned(), resource.clone()));
    [(verb, resource)].into_iter().chain(created).collect()
}

fn write(entry: &Value) -> Option<Write> {
    let verb = entry["verb"].as_str()?;
    if !matches!(verb, "create" | "update" | "patch" | "delete") {
        return None;
    }
    let target = &entry["objectRef"];
    let mut resource = target["resource"].as_str()?.to_owned();
    if let Some(sub) = target["subresource"].as_str() {
        resource = format!("{resource}/{sub}");
    }
    Some(Write {
        user: entry["user"]["username"].as_str()?.to_owned(),
        verb: verb.to_owned(),
        resource,
        namespace: target["namespace"].as_str().unwrap_or_default().to_owned(),
        name: target["name"].as_str().unwrap_or_default().to_owned(),
        code: entry["responseStatus"]["code"].as_u64()?,
    })
}
