//! Colours and age, for people: plain text wherever the output is no terminal.
//!
//! Decides how something looks; never what is said.

use std::io::IsTerminal as _;

use jiff::Timestamp;

/// Colours text, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Painter {
    on: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Wants attention.
    Warn,
    /// Failed.
    Bad,
    /// Of lesser interest.
    Dim,
    /// A title.
    Strong,
}

impl Painter {
    /// Never colours.
    #[must_use]
    pub const fn plain() -> Self {
        Self { on: false }
    }

    /// Colours where stdout is a terminal and `NO_COLOR` is not set.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self {
            on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// `text` in the colour of `tone`.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// The sign and tone of a phase (of an app, a migration, a pod).
#[must_use]
pub fn sign(phase: &str) -> (&'static str, Tone) {
    match phase {
        "Ready" | "Applied" | "Running" | "Healthy" | "Completed" | "Promoted" => ("✔", Tone::Good),
        "Stalled" | "RolledBack" | "Failed" | "Error" => ("✖", Tone::Bad),
        "Paused" => ("॥", Tone::Warn),
        "AwaitingRelease" | "Waiting" => ("◷", Tone::Dim),
        "Ambiguous" | "ImagePullBackOff" | "ErrImagePull" | "CrashLoopBackOff" | "RollingBack" => {
            ("⚠", Tone::Warn)
        }
        "ScaledDown" => ("•", Tone::Dim),
        "Pending" | "Migrating" | "Progressing" | "Terminating" => ("◌", Tone::Busy),
        _ => ("?", Tone::Dim),
    }
}

/// Time between two moments as kubectl writes it: `12s`, `5m`, `3h`, `7d`.
#[must_use]
pub fn age(since: Option<Timestamp>, now: Timestamp) -> String {
    let Some(since) = since else {
        return "-".to_owned();
    };
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// One row of a table, each cell with its tone (none: as the terminal has it).
pub type Row = Vec<(Option<Tone>, String)>;

/// `rows` as lines with aligned columns, two spaces apart.
#[must_use]
pub fn table(rows: &[Row], painter: Painter) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.1.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    rows.iter().map(|row| line(row, &widths, painter)).collect()
}

fn line(row: &Row, widths: &[usize], painter: Painter) -> String {
    let mut text = String::new();
    for (index, ((tone, cell), width)) in row.iter().zip(widths).enumerate() {
        if index > 0 {
            text.push_str("  ");
        }
        match tone {
            Some(tone) => text.push_str(&painter.paint(*tone, cell)),
            None => text.push_str(cell),
        }
        if index + 1 < row.len() {
            text.extend(std::iter::repeat_n(
                ' ',
                width.saturating_sub(cell.chars().count()),
            ));
        }
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_in_kubectl() {
        let start = Timestamp::UNIX_EPOCH;
        let after = |seconds| age(Some(start), Timestamp::from_second(seconds).unwrap());
        assert_eq!(
            [after(5), after(125), after(7_300), after(200_000)],
            ["5s", "2m", "2h", "2d"]
        );
        assert_eq!(age(None, start), "-");
    }

    #[test]
    fn columns_are_aligned_and_plain_text_stays_plain() {
        let row = |a: &str, b: &str| vec![(Some(Tone::Good), a.to_owned()), (None, b.to_owned())];
        let lines = table(&[row("├─ a", "x"), row("bbbbbb", "y")], Painter::plain());
        assert_eq!(lines, ["├─ a    x", "bbbbbb  y"]);
    }
}
