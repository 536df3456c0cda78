//! Quantities in the server's canonical form, for the simple forms that people write.

/// `text` as the server stores it: `1000m` is `1`, `0.5` is `500m`, `1024Mi` is `1Gi`; what it does not know stays as it is.
pub(crate) fn canonical(text: &str) -> String {
    const BINARY: [&str; 6] = ["", "Ki", "Mi", "Gi", "Ti", "Pi"];
    const DECIMAL: [&str; 7] = ["m", "", "k", "M", "G", "T", "P"];
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    if let Some(power) = BINARY.iter().skip(1).position(|s| *s == suffix) {
        let Some((value, power)) = whole(number, power + 1, 1024) else {
            return text.to_owned();
        };
        return reduce(value, power, 1024, &BINARY);
    }
    if let Some(power) = DECIMAL.iter().position(|s| *s == suffix) {
        let Some((value, power)) = whole(number, power, 1000) else {
            return text.to_owned();
        };
        return reduce(value, power, 1000, &DECIMAL);
    }
    text.to_owned()
}

/// `number` at `power` as a whole number at a lower power.
fn whole(number: &str, power: usize, base: u64) -> Option<(u64, usize)> {
    let Some((left, right)) = number.split_once('.') else {
        return Some((number.parse().ok()?, power));
    };
    let scale = 10_u64.checked_pow(u32::try_from(right.len()).ok()?)?;
    let tenths = left
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(right.parse().ok()?)?;
    if tenths.is_multiple_of(scale) {
        return Some((tenths / scale, power));
    }
    let lower = power.checked_sub(1)?;
    let value = tenths.checked_mul(base)?;
    value
        .is_multiple_of(scale)
        .then_some((value / scale, lower))
}

fn reduce(mut value: u64, mut power: usize, base: u64, suffixes: &[&str]) -> String {
    while value != 0 && value.is_multiple_of(base) && power + 1 < suffixes.len() {
        value /= base;
        power += 1;
    }
    format!("{value}{}", suffixes.get(power).unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn as_the_server_stores_it() {
        for (text, stored) in [
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1", "1"),
            ("2000", "2k"),
            ("64Mi", "64Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("odd", "odd"),
            ("1e3", "1e3"),
            ("0", "0"),
        ] {
            assert_eq!(canonical(text), stored, "{text}");
        }
    }
}
