//! A migration as the planner sees it: files in order, digests, what is allowed to run.
//!
//! Decides order and permission of files; never whether a file runs now.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;
use signalbox_common::id::StepId;
use signalbox_common::wire::{LiveObject, Observation};
use signalbox_crds::migration::{
    AppliedFile, ContractPolicy, DatabaseMigrationSpec, DatabaseMigrationStatus, FileDigest, Phase,
};

/// The longest version: it becomes part of names and labels.
const LONGEST_VERSION: usize = 32;

/// A migration with its files in order.
pub(super) struct View<'a> {
    /// What was observed.
    pub(super) seen: &'a Observation,
    /// The object.
    pub(super) object: &'a LiveObject,
    /// Its spec; without the SQL, which does not travel.
    pub(super) spec: DatabaseMigrationSpec,
    /// Its status.
    pub(super) status: DatabaseMigrationStatus,
    /// Its files: expand before contract, each by version.
    pub(super) files: Vec<File>,
    /// Its generation.
    pub(super) generation: i64,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Name.
    pub(super) name: String,
    /// Version, as spelt in the name.
    pub(super) version: String,
    /// Phase.
    pub(super) phase: Phase,
    /// Size and hash; none: not known yet, or not in the `ConfigMap`.
    pub(super) digest: Option<FileDigest>,
    /// The SQL stands in the spec.
    pub(super) inline: bool,
}

impl File {
    /// Key of its step.
    pub(super) fn step(&self) -> String {
        format!("migrate-{}", self.version)
    }
}

impl<'a> View<'a> {
    /// Reads the object.
    ///
    /// # Errors
    /// What is not of the form that this version knows.
    pub(super) fn read(seen: &'a Observation, object: &'a LiveObject) -> Result<Self, String> {
        let mut spec = object.at("/spec").cloned().unwrap_or_default();
        let digests = take_digests(&mut spec);
        let spec: DatabaseMigrationSpec =
            serde_json::from_value(spec).map_err(|err| format!("spec: {err}"))?;
        let status = object.at("/status").filter(|status| !status.is_null());
        let status: DatabaseMigrationStatus = match status {
            Some(status) => {
                serde_json::from_value(status.clone()).map_err(|err| format!("status: {err}"))?
            }
            None => DatabaseMigrationStatus {
                observed_generation: -1,
                ..Default::default()
            },
        };
        let generation = object.generation.unwrap_or_default();
        let mut view = Self {
            seen,
            object,
            spec,
            status,
            files: Vec::new(),
            generation,
        };
        view.files = view.ordered(&digests);
        Ok(view)
    }

    fn ordered(&self, digests: &[(String, FileDigest)]) -> Vec<File> {
        let source = self
            .source_is_current()
            .then_some(self.status.source.as_ref())
            .flatten();
        let resolved = source
            .map(|source| source.files.as_slice())
            .unwrap_or_default();
        let mut files: Vec<File> = self
            .spec
            .files
            .iter()
            .map(|file| {
                let inline = digests.iter().find(|(name, _)| *name == file.name);
                let digest = inline.map(|(_, digest)| digest);
                File {
                    name: file.name.clone(),
                    version: version_of(&file.name).to_owned(),
                    phase: file.phase,
                    digest: digest
                        .or_else(|| resolved.iter().find(|digest| digest.name == file.name))
                        .cloned(),
                    inline: inline.is_some(),
                }
            })
            .collect();
        files.sort_by(|a, b| {
            a.phase
                .cmp(&b.phase)
                .then_with(|| compare(&a.version, &b.version))
                .then_with(|| a.name.cmp(&b.name))
        });
        files
    }

    /// Whether the digests of the `ConfigMap`'s files are those of this generation (or none are needed).
    pub(super) fn source_is_current(&self) -> bool {
        let Some(wanted) = &self.spec.config_map else {
            return true;
        };
        self.status.source.as_ref().is_some_and(|source| {
            source.config_map == *wanted
                && source.for_generation == self.object.generation.unwrap_or_default()
        })
    }

    /// Names of the files that stand in the `ConfigMap`, sorted.
    pub(super) fn outside(&self) -> Vec<String> {
        let outside = self.files.iter().filter(|file| !file.inline);
        let mut names: Vec<String> = outside.map(|file| file.name.clone()).collect();
        names.sort();
        names
    }

    /// Whether files of `phase` may run now.
    pub(super) fn allows(&self, phase: Phase) -> bool {
        let released = match (&self.spec.app, &self.spec.release) {
            (None, _) => true,
            (Some(_), None) => false,
            // A release covers the contract files that it found. Later ones belong to the next release:
            // the revision that serves now may still need what they drop.
            (Some(_), Some(release)) => {
                phase <= release.phase && (phase == Phase::Expand || !self.release_is_over())
            }
        };
        let automatic = match (phase, self.spec.contract) {
            (Phase::Expand, _) | (Phase::Contract, ContractPolicy::Auto) => true,
            (Phase::Contract, ContractPolicy::Manual) => false,
        };
        released && automatic
    }

    /// Whether everything of the present release was applied, contract files included.
    pub(super) fn release_is_over(&self) -> bool {
        let released = self.status.released.as_ref();
        released.is_some_and(|over| over.phase == Phase::Contract)
            && released == self.spec.release.as_ref()
    }

    /// Id of the step that applies `file` with its present content to the present target.
    pub(super) fn step_id(&self, file: &File) -> Option<StepId> {
        Some(StepId::new(
            &self.seen.uid,
            &file.step(),
            &self.occurrence(file)?,
        ))
    }

    /// What makes the step a new wish: the content and the target.
    pub(super) fn occurrence(&self, file: &File) -> Option<String> {
        let target = &self.spec.target;
        let sha256 = &file.digest.as_ref()?.sha256;
        Some(format!(
            "{sha256}@{}/{}/{}",
            target.url_from.name, target.url_from.key, target.history_schema
        ))
    }

    /// The time of the observation, which no other time is later than.
    pub(super) fn now(&self) -> Timestamp {
        self.seen.observed_at
    }

    /// What is wrong with the names of the files.
    pub(super) fn misnamed(&self) -> Option<String> {
        let long = self
            .files
            .iter()
            .find(|file| file.version.len() > LONGEST_VERSION);
        if let Some(file) = long {
            return Some(format!(
                "the version of {} has more than {LONGEST_VERSION} characters",
                file.name
            ));
        }
        self.files.iter().enumerate().find_map(|(at, file)| {
            let mut earlier = self.files.iter().take(at);
            let twin = earlier.find(|other| same(&other.version, &file.version))?;
            Some(format!(
                "{} and {} have the same version",
                twin.name, file.name
            ))
        })
    }
}

/// The applied file of a version.
pub(super) fn applied<'a>(applied: &'a [AppliedFile], version: &str) -> Option<&'a AppliedFile> {
    applied
        .iter()
        .find(|done| same(version_of(&done.name), version))
}

/// Whether two spellings are one version: `1` is `1.0` is `01`.
pub(super) fn same(a: &str, b: &str) -> bool {
    compare(a, b) == Ordering::Equal
}

/// Orders versions by their numbers, of any length.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    numbers(a).cmp(&numbers(b))
}

fn numbers(version: &str) -> Vec<(usize, &str)> {
    let mut numbers: Vec<(usize, &str)> = version
        .split('.')
        .map(|digits| digits.trim_start_matches('0'))
        .map(|digits| (digits.len(), digits))
        .collect();
    while numbers.last().is_some_and(|(length, _)| *length == 0) {
        numbers.pop();
    }
    numbers
}

/// The part of a file's name between `V` and `__`.
pub(super) fn version_of(name: &str) -> &str {
    let rest = name.strip_prefix('V').unwrap_or(name);
    rest.split_once("__").map_or(rest, |(version, _)| version)
}

/// Takes `{"size", "sha256"}`, which stand in for the SQL, out of the spec.
fn take_digests(spec: &mut Value) -> Vec<(String, FileDigest)> {
    let Some(files) = spec.pointer_mut("/files").and_then(Value::as_array_mut) else {
        return Vec::new();
    };
    let mut digests = Vec::new();
    for file in files.iter_mut().filter_map(Value::as_object_mut) {
        let Some(name) = file.get("name").and_then(Value::as_str).map(str::to_owned) else {
            continue;
        };
        let Some(sql) = file.remove("sql") else {
            continue;
        };
        let size = sql.get("size").and_then(Value::as_i64);
        let sha256 = sql.get("sha256").and_then(Value::as_str);
        if let (Some(size), Some(sha256)) = (size, sha256) {
            let digest = FileDigest {
                name: name.clone(),
                size,
                sha256: sha256.to_owned(),
            };
            digests.push((name, digest));
        }
    }
    digests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert_eq!(compare("2", "10"), Ordering::Less);
        assert_eq!(compare("1.2", "1.10"), Ordering::Less);
        assert_eq!(
            compare("20260102030405060708091011", "3"),
            Ordering::Greater
        );
        assert!(same("1", "01.0"));
        assert_eq!(version_of("V1.2__add_column.sql"), "1.2");
    }
}
