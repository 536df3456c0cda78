//! Quantities of Kubernetes: whether two spellings mean the same amount.
//!
//! Decides equality only; never rounds and never converts.

/// Whether two texts are quantities of the same amount.
pub(super) fn same(a: &str, b: &str) -> bool {
    match (amount(a), amount(b)) {
        (Some(a), Some(b)) => a == b,
        (_, _) => a == b,
    }
}

/// The amount in billionths; none if it is no quantity or too exact or large to tell.
fn amount(text: &str) -> Option<i128> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-' && c != '+');
    let (number, suffix) = text.split_at(split.unwrap_or(text.len()));
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(scale(suffix)?)?;
    let divisor = 10_i128.checked_pow(places)?;
    let exact = scaled.checked_rem(divisor)? == 0;
    let amount = scaled.checked_div(divisor)?;
    exact.then_some(if negative { -amount } else { amount })
}

/// Billionths in one unit of a suffix.
fn scale(suffix: &str) -> Option<i128> {
    const ONE: i128 = 1_000_000_000;
    let power = |base: i128, exponent: u32| base.checked_pow(exponent)?.checked_mul(ONE);
    match suffix {
        "n" => Some(1),
        "u" => Some(1_000),
        "m" => Some(1_000_000),
        "" => Some(ONE),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "E" => power(1000, 6),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        "Ei" => power(1024, 6),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?.parse::<u32>().ok()?;
            power(10, exponent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn spellings_of_one_amount_are_the_same() {
        for (a, b) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("100m", "0.1"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn other_amounts_and_other_texts_differ() {
        for (a, b) in [
            ("1", "2"),
            ("1M", "1Mi"),
            ("x", "y"),
            ("", "0"),
            ("1Q", "1"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
