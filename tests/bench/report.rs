//! What was measured: one row a figure, one column a contender, as a Markdown table and as JSON.
//!
//! Decides which ratio stands beside a figure: that to the contender's own needed writes made alone, else to
//! those of the first contender.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::bar::Bar;
use crate::contender::{Contender, Side};
use crate::figures::{ratio, rounded};

/// One figure of all sides.
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) of: BTreeMap<Contender, f64>,
    /// Of the needed writes alone.
    pub(crate) raw: BTreeMap<Contender, f64>,
    pub(crate) bar: Bar,
    /// More is better.
    pub(crate) rising: bool,
    /// Later runs are compared with it.
    pub(crate) kept: bool,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    missing: Vec<(String, Side, String)>,
    details: Map<String, Value>,
}

impl Row {
    /// What a contender's figure is divided by.
    pub(crate) fn raw_of(&self, contender: Contender) -> Option<f64> {
        let own = self.raw.get(&contender);
        own.or_else(|| self.raw.values().next()).copied()
    }

    /// A contender's figure divided by that of the needed writes alone.
    pub(crate) fn ratio(&self, contender: Contender) -> Option<f64> {
        ratio(*self.of.get(&contender)?, self.raw_of(contender)?)
    }

    /// The figures of all but Signalbox.
    pub(crate) fn peers(&self) -> Vec<(&'static str, f64)> {
        let peers = self
            .of
            .iter()
            .filter(|(of, _)| **of != Contender::Signalbox);
        peers.map(|(of, figure)| (of.name(), *figure)).collect()
    }

    /// Whether Signalbox holds the bar.
    pub(crate) fn holds(&self) -> Option<bool> {
        let own = *self.of.get(&Contender::Signalbox)?;
        self.bar
            .holds(own, self.raw_of(Contender::Signalbox), &self.peers())
    }

    fn bar(&self) -> String {
        let mark = match self.holds() {
            Some(true) => " ✔",
            Some(false) => " ✘",
            None => "",
        };
        format!("{}{mark}", self.bar.words())
    }

    /// A line of the table: what it tells, and a cell for each contender.
    fn line(&self, what: &str, raw: &str, cells: &[String], bar: &str) -> String {
        let (scenario, unit, cells) = (&self.scenario, self.unit, cells.join(" | "));
        format!("| {scenario} | {what} | {unit} | {raw} | {cells} | {bar} |")
    }

    fn json(&self) -> Value {
        let named = |figures: &BTreeMap<Contender, f64>| -> Map<String, Value> {
            let each = figures.iter();
            each.map(|(of, figure)| (of.name().to_owned(), json!(rounded(*figure, 3))))
                .collect()
        };
        let ratios = self
            .of
            .keys()
            .filter_map(|of| Some((*of, self.ratio(*of)?)))
            .collect();
        json!({
            "scenario": self.scenario, "what": self.what, "unit": self.unit,
            "figures": named(&self.of), "raw": named(&self.raw), "ratios": named(&ratios),
            "bar": self.bar.words(), "holds": self.holds(), "rising": self.rising, "kept": self.kept,
        })
    }
}

impl Report {
    /// Adds a figure without a bar.
    pub(crate) fn row(
        &mut self,
        scenario: &str,
        what: impl Into<String>,
        unit: &'static str,
        of: &[(Side, f64)],
    ) {
        self.row_with(scenario, what, unit, of, Bar::None);
    }

    /// Adds a figure of which more is better.
    pub(crate) fn row_rising(
        &mut self,
        scenario: &str,
        what: &str,
        unit: &'static str,
        of: &[(Side, f64)],
    ) {
        self.row(scenario, what, unit, of);
        if let Some(row) = self.rows.last_mut() {
            row.rising = true;
        }
    }

    /// The last figure is no measure for later runs if that holds.
    pub(crate) fn never_kept_if(&mut self, holds: bool) {
        if let Some(row) = self.rows.last_mut() {
            row.kept = !holds;
        }
    }

    /// Adds a figure, which is also told at once.
    pub(crate) fn row_with(
        &mut self,
        scenario: &str,
        what: impl Into<String>,
        unit: &'static str,
        of: &[(Side, f64)],
        bar: Bar,
    ) {
        let some = |raw: bool| of.iter().filter(move |(side, _)| side.raw == raw);
        let row = Row {
            scenario: scenario.to_owned(),
            what: what.into(),
            unit,
            of: some(false)
                .map(|(side, figure)| (side.of, *figure))
                .collect(),
            raw: some(true)
                .map(|(side, figure)| (side.of, *figure))
                .collect(),
            bar,
            rising: false,
            kept: true,
        };
        eprintln!("{}", self.line(&row, &Contender::ALL));
        self.rows.push(row);
    }

    /// A side could not be measured.
    pub(crate) fn missing(&mut self, scenario: &str, side: Side, reason: String) {
        eprintln!("{scenario}: {} was not measured: {reason}", side.name());
        self.missing.push((scenario.to_owned(), side, reason));
    }

    /// Keeps something that the table has no place for.
    pub(crate) fn detail(&mut self, name: &str, value: Value) {
        self.details.insert(name.to_owned(), value);
    }

    /// The table, and why some are not in it.
    pub(crate) fn markdown(&self, contenders: &[Contender]) -> String {
        let names: Vec<&str> = contenders
            .iter()
            .map(|contender| contender.name())
            .collect();
        let mut text = format!(
            "| scenario | what | unit | raw | {} | bar |\n",
            names.join(" | ")
        );
        _ = writeln!(text, "|---|---|---|--:|{}---|", "--:|".repeat(names.len()));
        for row in &self.rows {
            text += &self.line(row, contenders);
            text.push('\n');
            if row.raw.len() > 1 {
                text += &raws(row, contenders);
            }
        }
        for (scenario, side, reason) in &self.missing {
            let reason = reason.lines().next().unwrap_or_default();
            let side = side.name();
            _ = writeln!(text, "\n`{scenario}`: {side} was not measured: {reason}");
        }
        text
    }

    fn line(&self, row: &Row, contenders: &[Contender]) -> String {
        let cells = contenders
            .iter()
            .map(|of| match (row.of.get(of), row.ratio(*of)) {
                (Some(figure), Some(ratio)) => format!("{} ({ratio:.2})", digits(*figure)),
                (Some(figure), None) => digits(*figure),
                (None, _) if self.is_missing(&row.scenario, *of) => "not measured".to_owned(),
                (None, _) => String::new(),
            });
        let cells: Vec<String> = cells.collect();
        let raw = row
            .raw
            .values()
            .next()
            .map_or_else(String::new, |raw| digits(*raw));
        row.line(&row.what, &raw, &cells, &row.bar())
    }

    fn is_missing(&self, scenario: &str, of: Contender) -> bool {
        let missing = |(place, side, _): &(String, Side, String)| {
            side.of == of && !side.raw && (place == scenario || place == "all")
        };
        self.missing.iter().any(missing)
    }

    /// Everything as JSON.
    pub(crate) fn json(&self, sizes: &Value) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let missing = self.missing.iter().map(|(scenario, side, reason)| {
            json!({ "scenario": scenario, "side": side.name(), "reason": reason })
        });
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        json!({
            "processors": processors, "sizes": sizes, "figures": rows,
            "missing": missing.collect::<Vec<_>>(), "details": self.details,
        })
    }
}

/// Where each contender has its own needed writes: what those took alone.
fn raws(row: &Row, contenders: &[Contender]) -> String {
    let cells = contenders
        .iter()
        .map(|of| row.raw.get(of).map_or_else(String::new, |raw| digits(*raw)));
    let cells: Vec<String> = cells.collect();
    let what = format!("{}, its needed writes alone", row.what);
    row.line(&what, "", &cells, "") + "\n"
}

/// Writes JSON into a file, whose folder is made.
pub(crate) fn write(path: &Path, value: &Value) {
    let folder = path.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).expect("a folder");
    let text = serde_json::to_string_pretty(value).expect("JSON");
    std::fs::write(path, text + "\n").expect("a file");
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
    fn a_row_tells_ratios_bars_and_who_is_missing() {
        let (ours, peer) = (Contender::Signalbox, Contender::Kopf);
        let mut report = Report::default();
        report.missing(
            "idle",
            Side::operator(peer),
            "python3 is missing".to_owned(),
        );
        let of = [(Side::raw(ours), 8.0), (Side::operator(ours), 10.0)];
        report.row_with("idle", "p50", "ms", &of, Bar::TimesRaw(1.2));
        let own = [
            (Side::raw(ours), 2.0),
            (Side::operator(ours), 3.0),
            (Side::raw(peer), 4.0),
            (Side::operator(peer), 8.0),
        ];
        report.row("create", "time", "s", &own);
        let text = report.markdown(&[ours, peer]);
        for line in [
            "| idle | p50 | ms | 8 | 10 (1.25) | not measured | ≤ 1.2 × raw ✘ |",
            "| create | time | s | 2 | 3 (1.50) | 8 (2.00) |  |",
            "| create | time, its needed writes alone | s |  | 2 | 4 |  |",
            "`idle`: kopf was not measured: python3 is missing",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
