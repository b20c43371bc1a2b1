//! Words and numbers of the command line and of configuration files.

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

/// A number: digits, `_` between them, and a unit if it is bytes (`64 KiB`).
pub fn number(text: &str) -> Result<u64, String> {
    let expected =
        || format!("{text:?}: expected a number, with KiB, MiB or GiB behind it if it is bytes");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let shift = match text[end..].trim_start() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(expected()),
    };
    let digits = text[..end].replace('_', "");
    let number: u64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(1 << shift).ok_or_else(expected)
}

/// `: did you mean X?` if one of `known` is near to `word`; else nothing.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    // A key is often given without its table, or with the wrong one.
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |name: &str| {
        let whole = strsim::damerau_levenshtein(word, name);
        whole.min(strsim::damerau_levenshtein(&last(word), &last(name)) + 1)
    };
    let near = known.map(|name| (distance(name), name)).min();
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
        for (text, expected) in [
            ("0", Some(0)),
            ("1_000", Some(1000)),
            ("64 KiB", Some(64 << 10)),
            ("16MiB", Some(16 << 20)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("1 MB", None),
            ("99999999999 GiB", None),
        ] {
            assert_eq!(number(text).ok(), expected, "{text}");
        }
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
