//! The structure, checked: dependency edges, a planner without IO, files that say what they are, generated files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::similar_names,
    reason = "a failed step ends a suite; its figures are worth reading; a scenario is told in one piece"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each member may depend on, of the members.
const ALLOWED: &[(&str, &[&str])] = &[
    ("signalbox-crds", &[]),
    ("signalbox-common", &["signalbox-crds"]),
    ("signalbox-watcher", &["signalbox-crds", "signalbox-common"]),
    ("signalbox-planner", &["signalbox-crds", "signalbox-common"]),
    (
        "signalbox-executor",
        &["signalbox-crds", "signalbox-common"],
    ),
    ("signalbox-devcluster", &[]),
    (
        "signalbox-cli",
        &[
            "signalbox-crds",
            "signalbox-common",
            "signalbox-watcher",
            "signalbox-planner",
            "signalbox-executor",
            "signalbox-devcluster",
        ],
    ),
    (
        "signalbox-tests",
        &[
            "signalbox-crds",
            "signalbox-common",
            "signalbox-watcher",
            "signalbox-planner",
            "signalbox-executor",
            "signalbox-devcluster",
            "signalbox-cli",
            "signalbox-proxy",
            "signalbox-scoreboard",
        ],
    ),
    ("signalbox-proxy", &[]),
    ("signalbox-scoreboard", &[]),
    ("signalbox-peer-kube-rs", &["signalbox-crds"]),
    (
        "signalbox-simulation",
        &[
            "signalbox-crds",
            "signalbox-common",
            "signalbox-watcher",
            "signalbox-planner",
            "signalbox-executor",
        ],
    ),
    (
        "signalbox-changed-rule",
        &["signalbox-crds", "signalbox-common", "signalbox-cli"],
    ),
];

/// What tests of any member may use.
const FOR_TESTS: [&str; 2] = ["signalbox-devcluster", "signalbox-scoreboard"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Edges that are not allowed, as `from -> to`.
fn forbidden_edges(metadata: &Value, allowed: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let mut forbidden = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            // Tests of a member may use the servers.
            let for_tests = dependency["kind"] == "dev";
            let known = allowed.get(name).is_some_and(|list| list.contains(&target));
            if target.starts_with("signalbox-")
                && !known
                && !(for_tests && FOR_TESTS.contains(&target))
            {
                forbidden.push(format!("{name} -> {target}"));
            }
        }
    }
    forbidden
}

#[test]
fn dependencies_point_one_way() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version=1"])).unwrap();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    assert_eq!(forbidden_edges(&metadata, &allowed), Vec::<String>::new());

    // The check itself: with one edge less allowed, it speaks.
    let mut stricter = allowed;
    stricter.insert("signalbox-watcher", &["signalbox-crds"]);
    assert_eq!(
        forbidden_edges(&metadata, &stricter),
        ["signalbox-watcher -> signalbox-common"]
    );
}

#[test]
fn the_planner_library_has_no_io() {
    let arguments = [
        "tree",
        "-p",
        "signalbox-planner",
        "--no-default-features",
        "-e",
        "normal",
        "--prefix=none",
        "-f",
        "{p}",
    ];
    let tree = cargo(&arguments);
    assert!(tree.contains("serde_json"), "the tree is one: {tree}");
    for banned in [
        "tokio v",
        "async-nats v",
        "kube-client v",
        "kube-runtime v",
        "hyper v",
        "axum v",
    ] {
        assert!(
            !tree.lines().any(|line| line.starts_with(banned)),
            "{banned}\n{tree}"
        );
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut files = Vec::new();
    for member in [
        "crds",
        "common",
        "watcher",
        "planner",
        "executor",
        "cli",
        "devcluster",
        "tests",
    ] {
        rust_files(&root().join(member), &mut files);
    }
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().count();
        let is_test = file.components().any(|c| c.as_os_str() == "tests");
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not start with //!", file.display()));
        }
        if lines > 400 && !is_test {
            wrong.push(format!("{} has {lines} lines", file.display()));
        }
    }
    assert!(files.len() > 60, "the files are found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn members_share_the_lints() {
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version=1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), ALLOWED.len());
    for package in packages {
        let path = package["manifest_path"].as_str().unwrap();
        let manifest = std::fs::read_to_string(path).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{path}");
    }
}

#[test]
fn generated_files_are_current() {
    let read =
        |name: &str| std::fs::read_to_string(root().join("deploy/generated").join(name)).unwrap();
    assert!(
        read("crds.yaml") == signalbox_crds::yaml().unwrap(),
        "run `make generate`"
    );
    assert!(
        read("rbac.yaml") == signalbox_common::rights::rbac_yaml(),
        "run `make generate`"
    );
}
