//! Figures of samples: ratios and rounding, beside the percentiles of all suites. Pure.

use std::time::Duration;

pub(crate) use signalbox_tests::figures::percentile;

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
