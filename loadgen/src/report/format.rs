//! Numbers for people.

/// A time in microseconds, in the unit that suits it.
pub fn time(us: f64) -> String {
    let digits = |value: f64| match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    let (value, unit) = match us {
        us if us < 1e3 => (us, "us"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{value:.*} {unit}", digits(value))
}

/// A number with separated thousands, or, if it is small, with decimals.
pub fn amount(number: f64) -> String {
    if number < 100.0 && number.fract() != 0.0 {
        return format!("{number:.2}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_few_digits() {
        assert_eq!(
            [1.234, 42.42, 999.4, 1_500.0, 2e6].map(time),
            ["1.23 us", "42.4 us", "999 us", "1.50 ms", "2.00 s"]
        );
        assert_eq!(
            [0.0, 0.5, 999.0, 1_000.0, 1_234_567.0].map(amount),
            ["0", "0.50", "999", "1,000", "1,234,567"]
        );
    }
}
