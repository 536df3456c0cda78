//! Writes that changed something, by namespace, read from the audit log as it grows.

use std::collections::HashMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// The record of all namespaces; lanes share it, so that each line is read once.
pub struct Record {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    read: u64,
    rest: Vec<u8>,
    /// `create|delete resource name`, in order.
    changes: HashMap<String, Vec<String>>,
}

impl Record {
    /// The record in the audit log at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    /// Creations and deletions by the parts in a namespace, of objects whose name begins with `name`.
    ///
    /// # Panics
    /// If the log can't be read.
    #[must_use]
    pub fn of(&self, namespace: &str, name: &str) -> Vec<String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = std::fs::File::open(&self.path).expect("there is an audit log");
        file.seek(SeekFrom::Start(state.read)).expect("a file");
        let mut bytes = std::mem::take(&mut state.rest);
        let before = bytes.len();
        file.read_to_end(&mut bytes).expect("a readable log");
        state.read += u64::try_from(bytes.len() - before).unwrap_or(0);
        let end = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        state.rest = bytes.split_off(end);
        for line in bytes.split(|byte| *byte == b'\n') {
            if let Some((namespace, change)) = change(line) {
                state.changes.entry(namespace).or_default().push(change);
            }
        }
        let all = state.changes.get(namespace);
        let own = all.into_iter().flatten().filter(|change| {
            let mut words = change.split(' ').skip(2);
            words.next().is_some_and(|word| word.starts_with(name))
        });
        own.cloned().collect()
    }
}

fn change(line: &[u8]) -> Option<(String, String)> {
    const PARTS: &[u8] = b"\"system:serviceaccount:signalbox-system:";
    // Most lines are not ours; reading those would take the time of the parts.
    line.windows(PARTS.len()).find(|part| *part == PARTS)?;
    let entry: Value = serde_json::from_slice(line).ok()?;
    let code = entry["responseStatus"]["code"].as_u64()?;
    let what = match (entry["verb"].as_str()?, code) {
        ("delete", 200 | 202) => "delete",
        (_, 201) => "create",
        _ => return None,
    };
    let target = &entry["objectRef"];
    let name = target["name"].as_str()?;
    let resource = target["resource"].as_str()?;
    Some((
        target["namespace"].as_str()?.to_owned(),
        format!("{what} {resource} {name}"),
    ))
}
