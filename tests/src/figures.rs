//! Figures of a run: percentiles of samples, and the lines that a scoreboard reads.
//!
//! Decides how a figure is written, one on a line; never whether it is good enough.

use std::time::Duration;

pub use signalbox_scoreboard::tell as figure;

/// Prints p50, p95 and the highest of times, in seconds; returns the p95.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn figures(name: &str, times: &[Duration]) -> Duration {
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let [p50, p95, max] = [50, 95, 100].map(|percent| {
        let found = percentile(&seconds, percent);
        found.expect("there are samples")
    });
    figure(&format!("{name}-p50"), p50, "s");
    figure(&format!("{name}-p95"), p95, "s");
    figure(&format!("{name}-max"), max, "s");
    Duration::from_secs_f64(p95)
}

/// Whether there is time for large numbers and the machine is quiet: by `make steady-faults`.
#[must_use]
pub fn long_form() -> bool {
    std::env::var_os("SIGNALBOX_STEADY_LONG").is_some()
}

/// What a suite holds a time to: the bar itself in the long form, else four times as much, for the load of other
/// suites is no defect.
#[must_use]
pub fn held_to(bar: Duration) -> Duration {
    if long_form() { bar } else { bar * 4 }
}

/// The `percent`th percentile (nearest rank): the least sample that so many percent do not exceed.
#[must_use]
pub fn percentile(samples: &[f64], percent: u32) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent.min(100) as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&samples, 50), Some(50.0));
        assert_eq!(percentile(&samples, 95), Some(95.0));
        assert_eq!(percentile(&samples, 100), Some(100.0));
        assert_eq!(percentile(&samples, 0), Some(1.0));
        assert_eq!(percentile(&[7.0], 95), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50), Some(2.0));
        assert_eq!(
            percentile(&[1.0, 2.0], 95),
            Some(2.0),
            "rounded up, never down"
        );
        assert_eq!(percentile(&[], 50), None);
    }
}
