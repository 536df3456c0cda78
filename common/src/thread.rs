//! The one thread of a part, which does all its work and waits for more.
//!
//! Decides nothing: asks the kernel what turns the thread has had, and sleeps for as long as [`Gathering`] says before it
//! listens again.

use std::fs::File;
use std::io;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use tokio::runtime::{Builder, Runtime};

use crate::gathering::{Gathering, Turns};

/// Where Linux tells what turns the thread has had that opens it.
const TURNS: &str = "/proc/thread-self/schedstat";

/// Times that the part slept without listening.
pub(crate) static PAUSES: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let about =
        "Times that the part gathered for 20 ms: it has much to do, and others want its core.";
    IntCounter::new("signalbox_scheduling_pauses_total", about).ok()
});

/// The runtime of a part. Its thread is the one that blocks on it.
///
/// # Errors
/// What the system refuses.
pub(crate) fn runtime() -> io::Result<Runtime> {
    // Opened by the part's thread, when it first has nothing to do.
    let known = Mutex::new(None);
    let listens_again = move || {
        let now = Instant::now();
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, gathering) = known.get_or_insert_with(|| {
            let file = File::open(TURNS).ok();
            let turns = file.as_ref().and_then(turns).unwrap_or_default();
            (file, Gathering::new(now, turns))
        });
        let pause = gathering.pause(now, || turns(file.as_ref()?));
        if !pause.is_zero() {
            if let Some(pauses) = &*PAUSES {
                pauses.inc();
            }
            std::thread::sleep(pause);
        }
    };
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(listens_again)
        .build()
}

/// What the kernel tells: nanoseconds that the thread ran, nanoseconds that it waited for a core, how many turns it had.
#[cfg(unix)]
fn turns(file: &File) -> Option<Turns> {
    use std::os::unix::fs::FileExt as _;

    let mut text = [0; 96];
    let len = file.read_at(&mut text, 0).ok()?;
    read(std::str::from_utf8(text.get(..len)?).ok()?)
}

/// The same where nobody tells.
#[cfg(not(unix))]
const fn turns(_file: &File) -> Option<Turns> {
    None
}

fn read(text: &str) -> Option<Turns> {
    let mut fields = text.split_whitespace().map(str::parse);
    let mut next = || Some(Duration::from_nanos(fields.next()?.ok()?));
    Some(Turns {
        ran: next()?,
        waited: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let turns = Turns {
            ran: Duration::from_millis(2),
            waited: Duration::from_micros(30),
        };
        assert_eq!(read("2000000 30000 17\n"), Some(turns));
        assert_eq!(read("2000000"), None);
        assert_eq!(read("2000000 x 17"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_of_the_thread_that_asks() {
        let of_a_thread_that = |works: bool| {
            std::thread::scope(|scope| {
                let turns = || {
                    let file = File::open(TURNS).unwrap();
                    let begun = Instant::now();
                    while works && begun.elapsed() < Duration::from_millis(50) {}
                    turns(&file).unwrap().ran
                };
                scope.spawn(turns).join().unwrap()
            })
        };
        assert!(of_a_thread_that(true) > of_a_thread_that(false));
    }
}
