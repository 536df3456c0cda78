//! How a part stands beside others on its cores: it waits its turn.
//!
//! Decides that a part which wakes up never pushes a running thread off its core (Linux' `SCHED_BATCH`); its share of
//! the time is the same. A message goes through four processes, and where cores are busy each would else be thrown off
//! by the next, with what it had in its caches. Never makes a part slower on idle cores, and never overrides whoever
//! started it with a niceness or a policy of their own.

/// Lets the calling thread, and those that it starts from now on, wait their turn. Whether it does; a system that
/// knows no such policy, or does not allow it, changes nothing.
#[cfg(target_os = "linux")]
#[must_use]
pub fn wait_our_turn() -> bool {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy as Normal, ThreadSchedulePolicy as Policy,
        set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
    };
    use thread_priority::{ThreadPriority, ThreadPriorityOsValue};

    let usual = matches!(thread_schedule_policy(), Ok(Policy::Normal(Normal::Other)));
    if !usual || rustix::process::getpriority_process(None) != Ok(0) {
        return false;
    }
    // For a normal policy this is the niceness.
    let as_it_is = ThreadPriority::Os(ThreadPriorityOsValue::default());
    let batch = Policy::Normal(Normal::Batch);
    set_thread_priority_and_policy(thread_native_id(), as_it_is, batch).is_ok()
}

/// The same where there is no such policy.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub const fn wait_our_turn() -> bool {
    false
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use thread_priority::unix::{
        NormalThreadSchedulePolicy as Normal, ThreadSchedulePolicy as Policy,
        thread_schedule_policy,
    };

    use super::*;

    /// Policy of this thread, and its niceness.
    fn standing() -> (Policy, i32) {
        let policy = thread_schedule_policy().unwrap();
        (policy, rustix::process::getpriority_process(None).unwrap())
    }

    /// What a thread of its own tells.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn a_part_and_its_threads_wait_their_turn() {
        let before = standing();
        let (waits, own, child) = apart(|| (wait_our_turn(), standing(), apart(standing)));
        // Tests may themselves be started with a niceness.
        assert_eq!(waits, before == (Policy::Normal(Normal::Other), 0));
        let batch = Policy::Normal(Normal::Batch);
        let after = if waits { (batch, 0) } else { before };
        assert_eq!([own, child], [after; 2]);
    }

    #[test]
    fn what_was_started_with_a_niceness_keeps_it() {
        let (nicer, waits, after) = apart(|| {
            rustix::process::nice(3).unwrap();
            (standing(), wait_our_turn(), standing())
        });
        assert!(!waits);
        assert_eq!(after, nicer);
    }
}
