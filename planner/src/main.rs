//! The planner's process.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_common::process;
use signalbox_planner::service::{Args, run};

/// A part makes many small objects, of JSON above all: glibc's allocator took a fifth of its processor time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    #[cfg(feature = "variants")]
    if let Some(refusal) = unknown_variant() {
        return process::refuse("planner", &refusal);
    }
    let common = args.common.clone();
    process::live("planner", &common, |end| run(args, end))
}

/// Takes the variant that `SIGNALBOX_PLANNER_VARIANT` names; says so if there is none of this name.
#[cfg(feature = "variants")]
#[expect(clippy::disallowed_methods, reason = "chosen before the first plan")]
fn unknown_variant() -> Option<String> {
    let name = std::env::var("SIGNALBOX_PLANNER_VARIANT").ok()?;
    (!signalbox_planner::variant::choose(&name)).then(|| format!("no variant is named {name}"))
}
