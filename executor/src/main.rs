//! The executor's process.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_common::process;
use signalbox_executor::{Args, run};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let common = args.common.clone();
    process::live("executor", &common, |end| run(args, end)).await
}
