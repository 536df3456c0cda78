//! Who competes: an operator, or the load generator that makes an operator's writes itself.
//!
//! Decides what a contender consists of and how its processes start; scenarios know none by name.

use clap::ValueEnum;
use signalbox_devcluster::Companion;
use signalbox_tests::world::guest;
use signalbox_tests::{Part, PartProcess, World};

use crate::peers::Programs;

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Contender {
    /// The three parts, one of each, NATS, and `signalbox bus ensure --keep`.
    Signalbox,
    /// Sixteen workers on controller-runtime.
    ControllerRuntime,
    /// kube's `Controller`.
    KubeRs,
    /// kopf.
    Kopf,
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [
        Self::Signalbox,
        Self::ControllerRuntime,
        Self::KubeRs,
        Self::Kopf,
    ];

    /// As it stands in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signalbox => "signalbox",
            Self::ControllerRuntime => "controller-runtime",
            Self::KubeRs => "kube-rs",
            Self::Kopf => "kopf",
        }
    }

    /// Who its writes are from, at the API server.
    pub(crate) fn writer(self) -> String {
        match self {
            Self::Signalbox => Part::Executor.user(),
            Self::ControllerRuntime | Self::KubeRs | Self::Kopf => guest(),
        }
    }
}

/// One of the two sides that a contender has: itself, or its needed writes made directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) of: Contender,
    /// The load generator makes the writes; no operator runs.
    pub(crate) raw: bool,
}

impl Side {
    pub(crate) const fn operator(of: Contender) -> Self {
        Self { of, raw: false }
    }

    pub(crate) const fn raw(of: Contender) -> Self {
        Self { of, raw: true }
    }

    /// For file names and lines of progress.
    pub(crate) fn name(self) -> String {
        let prefix = if self.raw { "raw-" } else { "" };
        format!("{prefix}{}", self.of.name())
    }
}

/// A figure of each side.
pub(crate) fn each<T>(sides: &[(Side, T)], figure: impl Fn(&T) -> f64) -> Vec<(Side, f64)> {
    let figures = sides.iter().map(|(side, of)| (*side, figure(of)));
    figures.collect()
}

/// A figure of each operator: what the needed writes alone have none of.
pub(crate) fn operators<T>(sides: &[(Side, T)], figure: impl Fn(&T) -> f64) -> Vec<(Side, f64)> {
    let operators = sides.iter().filter(|(side, _)| !side.raw);
    operators.map(|(side, of)| (*side, figure(of))).collect()
}

/// A process of an operator.
enum Process {
    Part(PartProcess),
    Beside(&'static str, Companion),
}

/// The running processes of an operator; none where the load generator writes.
#[derive(Default)]
pub(crate) struct Operator {
    processes: Vec<Process>,
    on_bus: bool,
}

impl Operator {
    /// Starts the processes of a side, or tells why they can't be.
    pub(crate) fn start(side: Side, world: &World, programs: &Programs) -> Result<Self, String> {
        if side.raw {
            return Ok(Self::default());
        }
        if side.of == Contender::Signalbox {
            let keeper = Process::Beside("keeper", world.keep_bus());
            let parts = world.parts().into_iter().map(Process::Part);
            let processes = parts.chain([keeper]).collect();
            return Ok(Self {
                processes,
                on_bus: true,
            });
        }
        let command = programs.of(side.of)?;
        let (name, user) = (side.of.name(), side.of.writer());
        let kubeconfig = world.cluster.kubeconfig(&user);
        let kubeconfig = kubeconfig.map_err(|err| err.to_string())?;
        let environment = vec![("KUBECONFIG", kubeconfig.into_os_string())];
        let (program, arguments) = (&command.program, &command.arguments);
        let cluster = &world.cluster;
        let process = cluster.start_beside(name, program, arguments, environment);
        let process = process.map_err(|err| err.to_string())?;
        Ok(Self {
            processes: vec![Process::Beside(name, process)],
            on_bus: false,
        })
    }

    /// Asks all processes to end and waits for that.
    pub(crate) async fn stop(&mut self) {
        let ends = self.processes.iter_mut().map(|process| async move {
            match process {
                Process::Part(part) => part.terminate().await,
                Process::Beside(_, process) => {
                    process.terminate().await.expect("a child can be ended");
                }
            }
        });
        futures::future::join_all(ends).await;
    }

    /// Names and process ids, without servers that it uses.
    pub(crate) fn pids(&self) -> Vec<(&'static str, u32)> {
        let pid = |process: &Process| match process {
            Process::Part(part) => (part.part.name(), part.pid()),
            Process::Beside(name, process) => (*name, process.pid()),
        };
        self.processes.iter().map(pid).collect()
    }

    /// Names of all processes that it needs beside the API server.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let bus = self.on_bus.then_some("nats-server");
        self.pids()
            .into_iter()
            .map(|(name, _)| name)
            .chain(bus)
            .collect()
    }

    /// Whether what it does stands in a ledger.
    pub(crate) const fn keeps_a_record(&self) -> bool {
        self.on_bus
    }

    /// A process that has ended by itself, and the end of its log.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.processes.iter_mut().find_map(|process| {
            let ended = match process {
                Process::Part(part) => part.has_ended(),
                Process::Beside(_, process) => process.has_ended(),
            };
            ended.then(|| format!("it has ended: {}", process.last_words()))
        })
    }

    /// The ends of all logs.
    pub(crate) fn last_words(&self) -> String {
        let words = self.processes.iter().map(Process::last_words);
        words.collect::<Vec<_>>().join("; ")
    }
}

impl Process {
    fn last_words(&self) -> String {
        let (name, log) = match self {
            Self::Part(part) => (part.part.name(), part.log_path()),
            Self::Beside(name, process) => (*name, process.log()),
        };
        let log = std::fs::read_to_string(log).unwrap_or_default();
        format!("{name}: {}", log.lines().last().unwrap_or_default())
    }
}
