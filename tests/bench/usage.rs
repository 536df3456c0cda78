//! What processes use: processor time and memory, from `/proc`.

use std::collections::BTreeMap;

use signalbox_devcluster::Server;
use signalbox_tests::World;
use signalbox_tests::process_stat::field;

/// The kernel counts processor time in hundredths of a second.
const TICKS: f64 = 100.0;

/// What one process used until now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time in seconds.
    pub(crate) cpu: f64,
    /// Resident memory in MiB.
    pub(crate) resident: f64,
    /// The highest that it was.
    pub(crate) peak: f64,
}

/// The processes of a field, and all of the machine together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// By name of the process.
    pub(crate) of: BTreeMap<String, Usage>,
    /// Processor time of the machine, in seconds.
    machine: f64,
}

impl Snapshot {
    /// Servers, an operator's processes and the load generator now.
    pub(crate) fn take(world: &World, operator: &[(&'static str, u32)]) -> Self {
        let servers = [
            ("kube-apiserver", Server::ApiServer),
            ("etcd", Server::Etcd),
            ("nats-server", Server::Nats),
        ];
        let servers = servers
            .into_iter()
            .filter_map(|(name, server)| Some((name, world.cluster.pid(server)?)));
        let own = [("load generator", std::process::id())];
        let of = servers
            .chain(operator.iter().copied())
            .chain(own)
            .map(|(name, pid)| (name.to_owned(), of_process(pid)))
            .collect();
        Self {
            of,
            machine: machine(),
        }
    }

    /// Processor seconds of one process until now.
    pub(crate) fn cpu(&self, process: &str) -> f64 {
        self.of.get(process).map_or(0.0, |usage| usage.cpu)
    }

    /// Processor seconds of each since `before`.
    pub(crate) fn cpu_since(&self, before: &Self) -> BTreeMap<String, f64> {
        let since = |name: &str, usage: &Usage| {
            usage.cpu - before.of.get(name).map_or(0.0, |before| before.cpu)
        };
        self.of
            .iter()
            .map(|(name, usage)| (name.clone(), since(name, usage)))
            .collect()
    }

    /// Processor seconds of everything else on the machine since `before`.
    pub(crate) fn others_since(&self, before: &Self) -> f64 {
        let known: f64 = self.cpu_since(before).values().sum();
        (self.machine - before.machine - known).max(0.0)
    }
}

/// Processor seconds of all processes of a field together: what no noise of the machine changes much.
pub(crate) fn all(cpu: &BTreeMap<String, f64>) -> f64 {
    cpu.values().sum()
}

fn of_process(pid: u32) -> Usage {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let status = read("status").unwrap_or_default();
    Usage {
        cpu: read("stat").ok().and_then(|s| cpu(&s)).unwrap_or(0.0),
        resident: mib(&status, "VmRSS:").unwrap_or(0.0),
        peak: mib(&status, "VmHWM:").unwrap_or(0.0),
    }
}

/// User and system time of `/proc/<pid>/stat`.
fn cpu(stat: &str) -> Option<f64> {
    let user: f64 = field(stat, 14)?.parse().ok()?;
    let system: f64 = field(stat, 15)?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn mib(status: &str, field: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

fn machine() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().next().map_or(0.0, busy)
}

/// Seconds of the first line of `/proc/stat` in which a processor was not idle.
fn busy(line: &str) -> f64 {
    let fields = line.split_whitespace().skip(1).take(8);
    let ticks: f64 = fields
        .enumerate()
        .filter(|(place, _)| !matches!(place, 3 | 4))
        .filter_map(|(_, field)| field.parse::<f64>().ok())
        .sum();
    ticks / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100";
        assert_eq!(cpu(stat), Some(3.0));
        assert_eq!(mib("Name: x\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2.0));
        let line = "cpu  100 0 50 9999 888 20 30 100 7 7";
        assert!(
            (busy(line) - 3.0).abs() < 1e-9,
            "idle, iowait and guests apart"
        );
    }
}
