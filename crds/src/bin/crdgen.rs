//! Prints all custom resource definitions as YAML, in name order.
//!
//! The one way to make deploy/generated/crds.yaml; `make generate` runs it, a test compares.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its output is its purpose"
)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match signalbox_crds::yaml() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("failed to print the definitions: {err}");
            ExitCode::FAILURE
        }
    }
}
