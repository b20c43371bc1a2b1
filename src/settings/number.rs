//! Whole numbers with a unit: counts, bytes, milliseconds, microseconds.

use super::duration::with_units;
use crate::base::Limits;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The quantity that a number counts, which decides the units that may follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `64`, `64 KiB`.
    Bytes,
    /// `250`, `250ms`, `5s`.
    Milliseconds,
    /// `50`, `50us`, `1ms`.
    Microseconds,
    /// `1_000`: no unit may follow.
    Count,
}

/// The units of bytes, and the factor of each.
const BYTES: [(&str, u64); 5] =
    [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl Unit {
    /// The unit that a key's name ends with, as the table of limits has it.
    pub fn of(name: &str) -> Unit {
        match Limits::unit(name) {
            "bytes" | "bytes per second" => Unit::Bytes,
            "ms" => Unit::Milliseconds,
            "µs" => Unit::Microseconds,
            _ => Unit::Count,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Unit::Bytes => "a number of bytes, or one with KiB, MiB or GiB behind it",
            Unit::Milliseconds => "a number of milliseconds, or one with ms, s, min or h behind it",
            Unit::Microseconds => "a number of microseconds, or one with us, ms or s behind it",
            Unit::Count => "a whole number",
        }
    }

    /// The number that `text` with a unit behind it comes to.
    fn with_unit(self, number: u64, unit: &str, text: &str) -> Option<u64> {
        match self {
            Unit::Bytes => {
                let (_, factor) = BYTES.iter().find(|(name, _)| *name == unit)?;
                number.checked_mul(*factor)
            }
            Unit::Milliseconds => whole(text, Duration::from_millis(1)),
            Unit::Microseconds => whole(text, Duration::from_micros(1)),
            Unit::Count => None,
        }
    }
}

/// A span of time in a unit, if it is a whole number of it.
fn whole(text: &str, unit: Duration) -> Option<u64> {
    let nanoseconds = with_units(text).ok()?.as_nanos();
    let number = nanoseconds / unit.as_nanos();
    if nanoseconds % unit.as_nanos() == 0 { number.try_into().ok() } else { None }
}

/// A number: digits, with `_` between them, and a unit of what it counts (`64 KiB` of bytes,
/// `5s` of time).
pub fn number(text: &str, unit: Unit) -> Result<u64, String> {
    let plain = text.trim().replace('_', "");
    let plain = plain.strip_prefix('+').unwrap_or(&plain);
    let end = plain.find(|c: char| !c.is_ascii_digit()).unwrap_or(plain.len());
    let (digits, behind) = plain.split_at(end);
    let found = match (digits.parse(), behind.trim_start()) {
        (Ok(number), "") => Some(number),
        (Ok(number), behind) => unit.with_unit(number, behind, plain),
        (Err(_), _) => None,
    };
    found.ok_or_else(|| format!("{text:?}: expected {}", unit.expected()))
}

/// A count within bounds.
pub fn within(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    number(text, Unit::Count).ok().filter(|number| range.contains(number)).ok_or_else(|| {
        format!("{text:?}: expected a whole number from {} to {}", range.start(), range.end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_the_units_of_their_keys() {
        for (text, unit, expected) in [
            ("0", Unit::Count, Some(0)),
            ("1_000", Unit::Count, Some(1000)),
            ("+7", Unit::Count, Some(7)),
            ("64 KiB", Unit::Bytes, Some(64 << 10)),
            ("16MiB", Unit::Bytes, Some(16 << 20)),
            ("16B", Unit::Bytes, Some(16)),
            ("5s", Unit::Milliseconds, Some(5_000)),
            ("1_500 ms", Unit::Milliseconds, Some(1_500)),
            ("2 min", Unit::Milliseconds, Some(120_000)),
            ("1h", Unit::Milliseconds, Some(3_600_000)),
            ("50us", Unit::Microseconds, Some(50)),
            ("50µs", Unit::Microseconds, Some(50)),
            ("1ms", Unit::Microseconds, Some(1_000)),
            // A unit of something else.
            ("5KiB", Unit::Milliseconds, None),
            ("5s", Unit::Bytes, None),
            ("50us", Unit::Milliseconds, None),
            ("5s", Unit::Count, None),
            ("5KiB", Unit::Count, None),
            ("", Unit::Count, None),
            ("_", Unit::Count, None),
            ("-1", Unit::Count, None),
            ("-1", Unit::Milliseconds, None),
            ("1.5", Unit::Bytes, None),
            ("1.5", Unit::Milliseconds, None),
            ("1 MB", Unit::Bytes, None),
            ("99999999999 GiB", Unit::Bytes, None),
            ("99999999999999999999", Unit::Count, None),
        ] {
            assert_eq!(number(text, unit).ok(), expected, "{text} of {unit:?}");
        }
        let error = number("5KiB", Unit::of("drain_ms")).unwrap_err();
        let milliseconds = "a number of milliseconds, or one with ms, s, min or h behind it";
        assert_eq!(error, format!("\"5KiB\": expected {milliseconds}"));
    }

    #[test]
    fn bounds_are_named() {
        assert_eq!(within("1_0", 1..=10), Ok(10));
        for text in ["0", "11", "-1", "1KiB", ""] {
            let error = within(text, 1..=10).unwrap_err();
            assert_eq!(error, format!("{text:?}: expected a whole number from 1 to 10"));
        }
    }
}
