//! Holds a process still, and lets it go on.
//!
//! Decides that a process is still once the system says so of each of its threads: SIGSTOP alone only asks for it,
//! and a thread on another core goes on for a moment. Never ends anything.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);
/// How long the system may take; a thread in a system call that can't be interrupted ends it first.
const LIMIT: Duration = Duration::from_secs(10);

/// SIGSTOP, and waits until no thread of the process runs.
///
/// # Errors
/// If there is no such process, or if it isn't still after ten seconds.
pub fn hold_still(pid: u32) -> io::Result<()> {
    send(pid, Signal::STOP)?;
    until_still(pid)
}

/// SIGCONT.
///
/// # Errors
/// If there is no such process.
pub fn go_on(pid: u32) -> io::Result<()> {
    send(pid, Signal::CONT)
}

fn send(pid: u32, signal: Signal) -> io::Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(process, signal)?)
}

/// Waits until no thread runs; at once where the system has no `/proc`.
pub(crate) fn until_still(pid: u32) -> io::Result<()> {
    let begun = Instant::now();
    while !is_still(pid)? {
        if begun.elapsed() > LIMIT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn is_still(pid: u32) -> io::Result<bool> {
    let threads = match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(threads) => threads,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for entry in threads {
        // A thread may end meanwhile.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        // After the name, which is in parentheses and may hold any character, comes the state.
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        if !matches!(state, Some('T' | 't' | 'Z' | 'X')) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// A publish went through to a bus that had been told to stop, on a machine with both cores busy.
    #[test]
    fn a_process_held_still_does_nothing_more() {
        let mut child = Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        assert!(!is_still(child.id()).unwrap());
        hold_still(child.id()).unwrap();
        assert!(is_still(child.id()).unwrap());
        go_on(child.id()).unwrap();
        let begun = Instant::now();
        while is_still(child.id()).unwrap() {
            assert!(begun.elapsed() < LIMIT, "still held");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
