//! What was measured: one row a figure, as a Markdown table and as JSON.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::figures::{ratio, rounded};

/// One figure of both sides.
struct Row {
    scenario: &'static str,
    what: String,
    unit: &'static str,
    raw: Option<f64>,
    signalbox: f64,
    expected: &'static str,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    details: Map<String, Value>,
}

impl Report {
    /// Adds a figure, which is also told at once.
    pub(crate) fn row(
        &mut self,
        scenario: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        (raw, signalbox): (Option<f64>, f64),
        expected: &'static str,
    ) {
        let row = Row {
            scenario,
            what: what.into(),
            unit,
            raw,
            signalbox,
            expected,
        };
        eprintln!("{}", row.line());
        self.rows.push(row);
    }

    /// Keeps something that the table has no place for.
    pub(crate) fn detail(&mut self, name: &str, value: Value) {
        self.details.insert(name.to_owned(), value);
    }

    /// The table.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| scenario | what | unit | raw | signalbox | difference | ratio | expected |\n\
             |---|---|---|--:|--:|--:|--:|---|\n",
        );
        for row in &self.rows {
            let _ = writeln!(text, "{}", row.line());
        }
        text
    }

    /// Writes all as JSON.
    pub(crate) fn keep(&self, path: &Path) {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let all = json!({ "processors": processors, "figures": rows, "details": self.details });
        let folder = path.parent().expect("a file in a folder");
        std::fs::create_dir_all(folder).expect("a folder");
        let text = serde_json::to_string_pretty(&all).expect("JSON");
        std::fs::write(path, text).expect("a file");
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.raw.and_then(|raw| ratio(self.signalbox, raw))
    }

    fn line(&self) -> String {
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), digits);
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            self.scenario,
            self.what,
            self.unit,
            shown(self.raw),
            digits(self.signalbox),
            shown(self.raw.map(|raw| self.signalbox - raw)),
            self.ratio()
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            self.expected,
        )
    }

    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "what": self.what,
            "unit": self.unit,
            "raw": self.raw.map(|raw| rounded(raw, 3)),
            "signalbox": rounded(self.signalbox, 3),
            "ratio": self.ratio().map(|ratio| rounded(ratio, 3)),
            "expected": self.expected,
        })
    }
}

/// Counts whole, small figures with their decimals.
fn digits(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else if value.abs() < 100.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_difference_and_ratio() {
        let mut report = Report::default();
        report.row("idle", "p50", "ms", (Some(8.0), 10.0), "+ 3");
        report.row("memory", "watcher", "MiB", (None, 20.5), "≤ 64");
        let text = report.markdown();
        assert!(
            text.contains("| idle | p50 | ms | 8 | 10 | 2 | 1.25 | + 3 |"),
            "{text}"
        );
        assert!(
            text.contains("| memory | watcher | MiB | – | 20.50 | – | – | ≤ 64 |"),
            "{text}"
        );
    }
}
