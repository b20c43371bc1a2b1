//! Words and numbers of the command line and of configuration files.

use crate::base::Limits;
use std::io::{self, Write};

/// A TOML string.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                quoted += &format!("\\u{:04X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted + "\""
}

/// Prints to the standard output.
///
/// # Errors
/// Nobody reads it, or there is no room for it.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Values as a TOML array of strings.
pub fn list(values: &[impl ToString]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quoted(&value.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

/// The quantity that a number counts, and so which units may stand behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Milliseconds,
    Microseconds,
    Count,
}

impl Unit {
    /// That of a limit or key, as the unit that stands in the table of limits calls it.
    pub fn of(name: &str) -> Unit {
        match Limits::unit(name) {
            "bytes" | "bytes per second" => Unit::Bytes,
            "ms" => Unit::Milliseconds,
            "µs" => Unit::Microseconds,
            _ => Unit::Count,
        }
    }

    /// The units that may be written, each with its factor, and what was expected.
    fn written(self) -> (&'static [(&'static str, u64)], &'static str) {
        const MILLISECOND: u64 = 1_000;
        const SECOND: u64 = 1_000 * MILLISECOND;
        match self {
            Unit::Bytes => (
                &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)],
                "a number of bytes, or one with KiB, MiB or GiB behind it",
            ),
            Unit::Milliseconds => (
                &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000)],
                "a number of milliseconds, or one with ms, s, min or h behind it",
            ),
            Unit::Microseconds => (
                &[("us", 1), ("µs", 1), ("ms", MILLISECOND), ("s", SECOND)],
                "a number of microseconds, or one with us, ms or s behind it",
            ),
            Unit::Count => (&[], "a whole number"),
        }
    }
}

/// A number: digits, `_` between them, and a unit that measures what it counts (`64 KiB` of
/// bytes, `5s` of time).
pub fn number(text: &str, unit: Unit) -> Result<u64, String> {
    let (units, described) = unit.written();
    let expected = || format!("{text:?}: expected {described}");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let factor = match text[end..].trim_start() {
        "" => 1,
        given => units.iter().find(|(name, _)| *name == given).ok_or_else(expected)?.1,
    };
    let digits = text[..end].replace('_', "");
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(factor).ok_or_else(expected)
}

/// `: did you mean X?` if one of `known` is near to `word`; else nothing.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A key is often given without its table, or with the wrong one.
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let whole = strsim::damerau_levenshtein(word, name);
        whole.min(strsim::damerau_levenshtein(&last(word), &last(name)) + 1)
    };
    let near = known.into_iter().map(|name| (distance(name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1 + word.len() / 4 => {
            format!(": did you mean {name}?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_units() {
        for (text, unit, expected) in [
            ("0", Unit::Count, Some(0)),
            ("1_000", Unit::Count, Some(1000)),
            ("64 KiB", Unit::Bytes, Some(64 << 10)),
            ("16MiB", Unit::Bytes, Some(16 << 20)),
            ("16B", Unit::Bytes, Some(16)),
            ("5s", Unit::Milliseconds, Some(5_000)),
            ("250 ms", Unit::Milliseconds, Some(250)),
            ("2 min", Unit::Milliseconds, Some(120_000)),
            ("1h", Unit::Milliseconds, Some(3_600_000)),
            ("50us", Unit::Microseconds, Some(50)),
            ("1ms", Unit::Microseconds, Some(1_000)),
            // A unit of something else.
            ("5KiB", Unit::Milliseconds, None),
            ("5s", Unit::Bytes, None),
            ("50us", Unit::Milliseconds, None),
            ("5s", Unit::Count, None),
            ("5KiB", Unit::Count, None),
            ("", Unit::Count, None),
            ("-1", Unit::Count, None),
            ("1.5", Unit::Bytes, None),
            ("1 MB", Unit::Bytes, None),
            ("99999999999 GiB", Unit::Bytes, None),
        ] {
            assert_eq!(number(text, unit).ok(), expected, "{text} of {unit:?}");
        }
        let error = number("5KiB", Unit::of("drain_ms")).unwrap_err();
        let milliseconds = "a number of milliseconds, or one with ms, s, min or h behind it";
        assert_eq!(error, format!("\"5KiB\": expected {milliseconds}"));
    }

    #[test]
    fn near_names_are_proposed_and_far_ones_are_not() {
        let known = ["listen", "limits.connections_max"];
        let check = |word, expected| assert_eq!(nearest(word, known.into_iter()), expected);
        check("lisen", ": did you mean listen?");
        check("limits.conections_max", ": did you mean limits.connections_max?");
        check("connections_max", ": did you mean limits.connections_max?");
        check("certificate", "");
    }
}
