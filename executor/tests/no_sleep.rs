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

#[test]
fn no_action_and_no_worker_sleeps() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src.join("apply"), &mut found);
    sources(&src.join("worker"), &mut found);
    for file in ["conflict.rs", "ambiguous.rs", "guards.rs", "api/mod.rs"] {
        found.push(src.join(file));
    }
    assert!(found.len() > 12, "{found:?}");
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("sleep("), "{} sleeps", path.display());
    }
}
