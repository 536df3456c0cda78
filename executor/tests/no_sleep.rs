//! No action sleeps: what takes long is claimed and goes on beside the plans.
#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// What runs beside the plans: whether a right is back; behind a claim: renewals, results that are written again, SQL's limits.
const LONG_WORK: [&str; 7] = [
    "api/rights.rs",
    "claims/ledger.rs",
    "claims/lease.rs",
    "claims/work.rs",
    "sql/blockers.rs",
    "sql/lock.rs",
    "sql/mod.rs",
];

#[test]
fn nothing_sleeps_but_long_work() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 30, "{found:?}");
    let sleepers: Vec<_> = found
        .iter()
        .filter(|path| std::fs::read_to_string(path).unwrap().contains("sleep("))
        .map(|path| path.strip_prefix(&src).unwrap().display().to_string())
        .filter(|path| !LONG_WORK.contains(&path.as_str()))
        .collect();
    assert!(sleepers.is_empty(), "{sleepers:?}");
}
