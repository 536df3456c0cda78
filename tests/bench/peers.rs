//! The programs of the peers: built or installed once, in the same cache as the servers.
//!
//! Decides where they lie and what they are called with. One that can't be made is told, and left out.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use signalbox_devcluster::cache_folder;
use signalbox_tests::parts::program;

use crate::contender::Contender;

/// Rights of a peer at the API server: what each of the three asks for.
pub(crate) const RIGHTS: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: bench-peer }
rules:
- { apiGroups: [signalbox.dev], resources: [portfolioapps], verbs: [get, list, watch, patch, update] }
- { apiGroups: [signalbox.dev], resources: [portfolioapps/status], verbs: [get, patch, update] }
- { apiGroups: [signalbox.dev], resources: [portfolioapps/finalizers], verbs: [update] }
- { apiGroups: [''], resources: [configmaps, services], verbs: [get, list, watch, create, patch, update] }
- { apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch, update] }
- { apiGroups: [''], resources: [namespaces, events], verbs: [get, list, watch, create] }
- { apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [get, list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: bench-peer }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: bench-peer }
subjects: [{ kind: ServiceAccount, name: guest, namespace: signalbox-system }]
";

/// A program and its arguments.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

/// What each peer is started with, or why it can't be.
pub(crate) struct Programs {
    of: HashMap<Contender, Result<Launch, String>>,
}

impl Programs {
    /// Builds and installs what the contenders need.
    pub(crate) fn prepare(contenders: &[Contender]) -> Self {
        let of = contenders.iter().filter_map(|contender| {
            let made = match contender {
                Contender::Signalbox => return None,
                Contender::ControllerRuntime => go(&source("controller-runtime")),
                Contender::KubeRs => Ok(Launch {
                    program: program("signalbox-peer-kube-rs"),
                    arguments: Vec::new(),
                }),
                Contender::Kopf => python(&source("kopf")),
            };
            if let Err(reason) = &made {
                eprintln!("{} can't run: {reason}", contender.name());
            }
            Some((*contender, made))
        });
        Self { of: of.collect() }
    }

    /// What a peer is started with.
    pub(crate) fn of(&self, contender: Contender) -> Result<&Launch, String> {
        let made = self.of.get(&contender).ok_or("it was not prepared")?;
        made.as_ref().map_err(Clone::clone)
    }
}

fn source(peer: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("bench/peers")
        .join(peer)
}

/// Builds a Go module, whose packages and build results Go itself caches.
fn go(source: &Path) -> Result<Launch, String> {
    let folder = cache("controller-runtime")?;
    let program = folder.join("operator");
    let mut build = Command::new("go");
    build
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=-s -w",
            "-o",
        ])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS");
    eprintln!("building the operator on controller-runtime");
    run(&mut build)?;
    Ok(Launch {
        program,
        arguments: Vec::new(),
    })
}

/// Makes a virtual environment with the pinned packages. It is made again if they have changed.
fn python(source: &Path) -> Result<Launch, String> {
    let folder = cache("kopf")?;
    let (environment, installed) = (folder.join("venv"), folder.join("installed.txt"));
    let python = environment.join("bin/python");
    let requirements = source.join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).map_err(|err| err.to_string())?;
    if std::fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        eprintln!("installing kopf into a virtual environment");
        let mut make = Command::new("python3");
        run(make.args(["-m", "venv", "--clear"]).arg(&environment))?;
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ]);
        run(install.arg(&requirements))?;
        // Last, so that half an environment is never taken for a whole one.
        std::fs::write(&installed, &wanted).map_err(|err| err.to_string())?;
    }
    let words = [
        "-m",
        "kopf",
        "run",
        "--standalone",
        "--all-namespaces",
        "--quiet",
    ];
    let operator = source.join("operator.py").into_os_string();
    Ok(Launch {
        program: python,
        arguments: words
            .map(OsString::from)
            .into_iter()
            .chain([operator])
            .collect(),
    })
}

fn cache(peer: &str) -> Result<PathBuf, String> {
    let folder = cache_folder().map_err(|err| err.to_string())?;
    let folder = folder.join("peers").join(peer);
    std::fs::create_dir_all(&folder).map_err(|err| format!("{}: {err}", folder.display()))?;
    Ok(folder)
}

fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|err| format!("{program}: {err}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().last().unwrap_or_default();
    Err(format!("{program}: {last}"))
}
