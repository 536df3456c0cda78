//! The executor's process.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_common::process;
use signalbox_executor::{Args, run};

/// A part makes many small objects, of JSON above all: glibc's allocator took a fifth of its processor time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let common = args.common.clone();
    process::live("executor", &common, |end| run(args, end))
}
