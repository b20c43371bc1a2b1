//! TOML files as assignments, with the line of every key.

use super::{Assignment, Origin, Problem};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The numbers that a program's keys take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Whole ones only.
    Whole,
    /// Also fractions, like `rate = 0.5`.
    Fractional,
}

/// The contents of a file.
#[derive(Debug, Default)]
pub struct Contents {
    /// Every key with its values, in the order of their lines.
    pub assignments: Vec<Assignment>,
    /// Keys whose values have a type that no key takes.
    pub mistaken: Vec<(String, Problem)>,
}

/// Reads the text of a file, which messages call `name`.
///
/// # Errors
/// It is not TOML: every mistake, one for each line.
pub fn contents(name: &str, text: &str, numbers: Numbers) -> Result<Contents, Vec<Problem>> {
    let reader = Reader { name, text, numbers };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            Problem { origin: reader.origin(offset), message: error.message().to_owned() }
        })
        .collect();
    let mut found = Contents::default();
    reader.collect("", table.get_ref(), &mut found);
    if !problems.is_empty() {
        problems.extend(found.mistaken.into_iter().map(|(_, problem)| problem));
        problems.sort_by_key(|problem| problem.origin.line());
        // One mistake may cause others behind it: only the first of a line is reported.
        problems.dedup_by_key(|problem| problem.origin.line());
        return Err(problems);
    }
    // The parser sorts keys by name.
    found.assignments.sort_by_key(|assignment| assignment.origin.line());
    found.mistaken.sort_by_key(|(_, problem)| problem.origin.line());
    Ok(found)
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    numbers: Numbers,
}

impl Reader<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Origin::File { name: self.name.to_owned(), line }
    }

    fn collect(&self, prefix: &str, table: &DeTable<'_>, found: &mut Contents) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let origin = self.origin(name.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => self.collect(&format!("{key}."), inner, found),
                DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                    for (place, item) in items.iter().enumerate() {
                        if let DeValue::Table(inner) = item.get_ref() {
                            self.collect(&format!("{key}.{place}."), inner, found);
                        } else {
                            let message = format!("{key}: expected tables only");
                            let problem = Problem { origin: origin.clone(), message };
                            found.mistaken.push((key.clone(), problem));
                        }
                    }
                }
                _ => match self.values(value) {
                    Ok(values) => found.assignments.push(Assignment { key, values, origin }),
                    Err(message) => {
                        let message = format!("{key}: {message}");
                        found.mistaken.push((key, Problem { origin, message }));
                    }
                },
            }
        }
    }

    fn values(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, &'static str> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|item| self.scalar(item)).collect(),
            _ => self.scalar(value).map(|value| vec![value]),
        }
    }

    fn scalar(&self, value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
        Ok(match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            // 0xFF and the like become decimal.
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_err(|_| "the number is too large")?
                .to_string(),
            DeValue::Float(number) if self.numbers == Numbers::Fractional => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            _ if self.numbers == Numbers::Fractional => {
                return Err("expected a string, a number, true or false");
            }
            _ => return Err("expected a string or a whole number"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, numbers: Numbers) -> Vec<String> {
        match contents("F", text, numbers) {
            Ok(found) => {
                let assignments = found
                    .assignments
                    .iter()
                    .map(|it| format!("{} {} = {}", it.origin, it.key, it.values.join("|")));
                let mistaken = found.mistaken.iter().map(|(_, problem)| problem.to_string());
                assignments.chain(mistaken).collect()
            }
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn every_key_has_its_line_and_its_tables() {
        let text = "b = 0xFF\na = [\"x\", 'y']\n\n[t]\nc = true\n[[g]]\nd = 1_000\n[[g]]\n\nd = 2";
        let expected =
            ["F:1 b = 255", "F:2 a = x|y", "F:5 t.c = true", "F:7 g.0.d = 1000", "F:10 g.1.d = 2"];
        assert_eq!(found(text, Numbers::Whole), expected);
    }

    #[test]
    fn fractions_are_taken_where_keys_take_them() {
        assert_eq!(found("a = 0.5", Numbers::Fractional), ["F:1 a = 0.5"]);
        let whole = found("a = 0.5\nb = 1", Numbers::Whole);
        assert_eq!(whole, ["F:2 b = 1", "F:1: a: expected a string or a whole number"]);
        let date = found("a = 1979-05-27", Numbers::Fractional);
        assert_eq!(date, ["F:1: a: expected a string, a number, true or false"]);
    }

    #[test]
    fn mistakes_of_syntax_are_reported_once_for_each_line() {
        let all = found("a = [\nb = 1\n", Numbers::Whole);
        assert!(all.len() == 1 && all[0].starts_with("F:2: "), "{all:?}");
        let all = found("a = 1\na = 2\nb = \n", Numbers::Whole);
        assert!(all[0].starts_with("F:2: duplicate") && all[1].starts_with("F:3: "), "{all:?}");
        assert_eq!(found("a = [{ b = 1 }, 2]", Numbers::Whole)[1], "F:1: a: expected tables only");
    }
}
