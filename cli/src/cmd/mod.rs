//! One file for each command.

pub mod bus;
pub mod dev;
pub mod generate;
pub mod get;
pub mod replay;
pub mod status;
pub mod timeline;

use std::io::Write as _;

/// Writes lines to stdout. A closed stdout (`| head`) ends the output, not the command.
pub(crate) fn print(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}
