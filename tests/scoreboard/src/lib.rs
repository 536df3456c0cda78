//! Figures that suites measure: each is printed, and kept beside the build for the scoreboard.
//!
//! Decides where a figure is kept and how it reads; never what is good enough: that is [`rows`].

pub mod rows;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// Its name, in kebab case.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Of what: `s`, `points`, `%`.
    pub unit: String,
    /// When it was measured.
    pub at: Timestamp,
}

/// Prints a figure (`FIGURE <name> <value> <unit>`) and keeps it, in place of an earlier one of the name.
///
/// # Panics
/// If the value is no number, or the folder of the build can't be written.
#[expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "figures are for people; without a folder there is nothing to do"
)]
pub fn tell(name: &str, value: impl Display, unit: &str) {
    let value: f64 = value.to_string().parse().expect("a number");
    println!("FIGURE {name} {} {unit}", brief(value));
    let figure = Figure {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
        at: Timestamp::now(),
    };
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("a folder for figures");
    let text = serde_json::to_string(&figure).expect("a figure is JSON");
    // Another process may read at the same time.
    let (new, path) = (
        folder.join(format!(".{name}.{}", std::process::id())),
        folder.join(format!("{name}.json")),
    );
    std::fs::write(&new, text).expect("a figure can be written");
    std::fs::rename(&new, &path).expect("a figure can be kept");
}

/// The same for how many of a hundred; of none, all.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub fn tell_share(name: &str, some: usize, of: usize) {
    let share = match of {
        0 => 100.0,
        of => some as f64 * 100.0 / of as f64,
    };
    tell(name, share, "%");
}

/// The figure that was measured last.
#[must_use]
pub fn read(folder: &Path, name: &str) -> Option<Figure> {
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

/// Where figures are kept: beside the build that runs.
///
/// # Panics
/// If the program has no path.
#[must_use]
#[expect(clippy::expect_used, reason = "a running program has a path")]
pub fn folder() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    // Either target/<profile>/program or target/<profile>/deps/suite.
    let profile = program
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"));
    let target = profile.and_then(Path::parent);
    target.expect("a build folder").join("figures")
}

/// At most two decimals, none of them needless.
#[must_use]
pub fn brief(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_reads_briefly() {
        for (value, text) in [(0.0, "0"), (1.341, "1.34"), (30.0, "30"), (0.5, "0.5")] {
            assert_eq!(brief(value), text);
        }
    }
}
