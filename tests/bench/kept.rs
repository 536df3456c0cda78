//! The kept ratios: what Signalbox was measured at before, in the repository.
//!
//! Decides what of a figure is kept: its ratio to the needed writes, else to the best peer, else a count or a size
//! itself. Times are never kept as such: they do not travel between machines.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::figures::rounded;

/// So much worse is shown.
const WORSE: f64 = 1.1;
/// Differences below these are noise, by unit.
const NOISE: [(&str, f64); 3] = [("MiB", 2.0), ("% of a core", 0.5), ("", 0.01)];

/// What a figure is compared with that no other side has.
const ITSELF: &str = "itself";

/// A comparable figure.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    by: String,
    value: f64,
}

/// What of a figure is comparable.
fn comparable(figure: &Value) -> Option<Kept> {
    const OWN: &str = "signalbox";
    if figure["kept"] == false {
        return None;
    }
    let own = figure["figures"][OWN].as_f64()?;
    if let Some(value) = figure["ratios"][OWN].as_f64() {
        return Some(Kept {
            by: "raw".to_owned(),
            value,
        });
    }
    let unit = figure["unit"].as_str()?;
    if NOISE.iter().any(|(known, _)| *known == unit) {
        return Some(Kept {
            by: ITSELF.to_owned(),
            value: own,
        });
    }
    let figures = figure["figures"].as_object()?.iter();
    let (names, peers): (Vec<&str>, Vec<f64>) = figures
        .filter(|(name, _)| *name != OWN)
        .filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
        .unzip();
    let better = if figure["rising"] == true {
        f64::max
    } else {
        f64::min
    };
    let best = peers
        .into_iter()
        .reduce(better)
        .filter(|best| *best > 0.0)?;
    // With other peers the best one is another.
    Some(Kept {
        by: format!("the best of {}", names.join(", ")),
        value: own / best,
    })
}

fn key(figure: &Value) -> String {
    let text = |field: &str| figure[field].as_str().unwrap_or_default();
    format!("{}: {}", text("scenario"), text("what"))
}

fn all(run: &Value) -> BTreeMap<String, (Kept, Value)> {
    let figures = run["figures"].as_array().into_iter().flatten();
    figures
        .filter_map(|figure| Some((key(figure), (comparable(figure)?, figure.clone()))))
        .collect()
}

/// Takes the comparable figures of a run into the kept ones. Those of scenarios that did not run stay.
pub(crate) fn keep(path: &Path, run: &Value) -> usize {
    let old = read(path).filter(|old| old["sizes"] == run["sizes"]);
    let mut ratios = old
        .and_then(|old| old["ratios"].as_object().cloned())
        .unwrap_or_default();
    let new = all(run);
    let count = new.len();
    for (key, (kept, _)) in new {
        let value = rounded(kept.value, 3);
        ratios.insert(key, json!({ "by": kept.by, "value": value }));
    }
    let kept = json!({ "sizes": run["sizes"], "processors": run["processors"], "ratios": ratios });
    crate::report::write(path, &kept);
    count
}

/// What is worse than kept by more than a tenth, or why nothing could be compared.
pub(crate) fn compare(path: &Path, run: &Value) -> String {
    let Some(kept) = read(path) else {
        return format!(
            "There are no kept ratios ({}): `make bench-keep` keeps those of this run.\n",
            path.display()
        );
    };
    if kept["sizes"] != run["sizes"] {
        return "The kept ratios are of other sizes: nothing is compared.\n".to_owned();
    }
    let mut worse = Vec::new();
    let mut compared = 0;
    for (key, (now, figure)) in all(run) {
        let before = &kept["ratios"][&key];
        let (Some(value), true) = (before["value"].as_f64(), before["by"] == now.by.as_str())
        else {
            continue;
        };
        compared += 1;
        if is_worse(value, &now, &figure) {
            worse.push(format!(
                "- {key}: {value:.2} → {:.2} (by {})",
                now.value, now.by
            ));
        }
    }
    if worse.is_empty() {
        return format!("None of {compared} figures is worse than kept by more than 10 %.\n");
    }
    format!(
        "Worse than kept by more than 10 %:\n\n{}\n",
        worse.join("\n")
    )
}

fn is_worse(before: f64, now: &Kept, figure: &Value) -> bool {
    let noise = NOISE.iter().find(|(unit, _)| figure["unit"] == *unit);
    let noise = noise
        .filter(|_| now.by == ITSELF)
        .map_or(0.0, |noise| noise.1);
    if figure["rising"] == true {
        return now.value < before / WORSE;
    }
    now.value > before * WORSE && now.value - before > noise
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ratio: f64, memory: f64, latency: f64) -> Value {
        json!({ "sizes": 1, "figures": [
            { "scenario": "create", "what": "time", "unit": "s", "figures": { "signalbox": 5.0 }, "ratios": { "signalbox": ratio } },
            { "scenario": "create", "what": "memory", "unit": "MiB", "figures": { "signalbox": memory }, "ratios": {} },
            { "scenario": "restart", "what": "reaction", "unit": "s", "figures": { "signalbox": latency, "kopf": 1.0 }, "ratios": {} },
            { "scenario": "idle", "what": "p95", "unit": "ms", "kept": false, "figures": { "signalbox": 5.0 }, "ratios": { "signalbox": ratio } },
            { "scenario": "create", "what": "alone", "unit": "s", "figures": { "signalbox": 5.0 }, "ratios": {} },
            { "scenario": "storm", "what": "rate", "unit": "1/s", "rising": true, "figures": { "signalbox": 9.0 }, "ratios": { "signalbox": 1.0 / ratio } },
        ]})
    }

    #[test]
    fn more_than_a_tenth_is_shown_and_times_are_not_kept() {
        let path = std::env::temp_dir().join(format!("kept-{}.json", std::process::id()));
        assert!(compare(&path, &run(1.0, 20.0, 0.3)).contains("no kept ratios"));
        assert_eq!(
            keep(&path, &run(1.0, 20.0, 0.3)),
            4,
            "neither a time alone nor the few slowest"
        );
        let same = compare(&path, &run(1.05, 21.0, 0.31));
        assert!(same.contains("None of 4"), "{same}");
        let worse = compare(&path, &run(1.2, 23.0, 0.4));
        for words in [
            "create: time: 1.00 → 1.20",
            "create: memory: 20.00",
            "restart: reaction",
            "storm: rate",
        ] {
            assert!(worse.contains(words), "{words}\n{worse}");
        }
        let mut other = run(9.0, 90.0, 9.0);
        other["sizes"] = json!(2);
        assert!(compare(&path, &other).contains("other sizes"));
        std::fs::remove_file(&path).expect("the file goes");
    }
}
