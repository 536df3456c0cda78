//! Figures of samples: percentiles and ratios. Pure.

use std::time::Duration;

/// The `percent`th percentile (nearest rank): the least sample that so many percent do not exceed.
pub(crate) fn percentile(samples: &[f64], percent: u32) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent.min(100) as usize).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// `part ÷ whole`; none if there is nothing to divide by.
pub(crate) fn ratio(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Rounded to so many decimals, for what is kept.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
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

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(3.0, 0.0), None);
    }

    #[test]
    fn rounding_keeps_decimals() {
        assert!((rounded(1.2345, 2) - 1.23).abs() < 1e-9);
        assert!((rounded(1.235_1, 2) - 1.24).abs() < 1e-9);
        assert!((ms(Duration::from_micros(1500)) - 1.5).abs() < 1e-9);
    }
}
