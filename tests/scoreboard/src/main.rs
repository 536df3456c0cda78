//! Prints the scoreboard: what the suites of this build measured last, beside what is promised.
//!
//! `--since <RFC 3339>` leaves out older figures. Fails if a row is `short` or was not measured.

#![expect(clippy::print_stdout, reason = "its table is for people")]

use std::process::ExitCode;

use jiff::Timestamp;
use signalbox_scoreboard::rows::{ROWS, Verdict};
use signalbox_scoreboard::{Figure, folder, read};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let since = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--since"), Some(text)) => text.parse::<Timestamp>().ok(),
        _ => None,
    };
    let folder = folder();
    let measured = |name: &str| -> Option<Figure> {
        let figure = read(&folder, name)?;
        since
            .is_none_or(|since| figure.at >= since)
            .then_some(figure)
    };
    println!("| name | figure | target | |\n|---|--:|--:|---|");
    let mut short = 0;
    for row in ROWS {
        let figure = measured(row.figure);
        let verdict = row.verdict(figure.as_ref());
        short += u32::from(verdict != Verdict::Ok);
        println!("{}", row.line(figure.as_ref(), verdict));
    }
    if short == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
