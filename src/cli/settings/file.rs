//! Configuration files and profiles: TOML, with the line of every key.

use super::{Assignment, Origin, Problem};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The contents of a file.
#[derive(Debug, Default)]
pub struct Contents {
    pub assignments: Vec<Assignment>,
    /// Keys with values of a kind that no key takes.
    pub mistaken: Vec<(String, Problem)>,
}

/// The contents of a file. `name` is how it is called in messages.
///
/// # Errors
/// It is not TOML: all that is wrong with it.
pub fn contents(name: &str, text: &str) -> Result<Contents, Vec<Problem>> {
    let origin = |offset: usize| Origin::File {
        name: name.to_owned(),
        line: text[..offset.min(text.len())].matches('\n').count() + 1,
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors
        .iter()
        .map(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            Problem { origin: origin(offset), message: error.message().to_owned() }
        })
        .collect();
    let mut found = Contents::default();
    collect("", table.get_ref(), &origin, &mut found);
    if !problems.is_empty() {
        problems.extend(found.mistaken.into_iter().map(|(_, problem)| problem));
        problems.sort_by_key(|problem| line(&problem.origin));
        // A mistake may cause others behind it: one is told for each line.
        problems.dedup_by_key(|problem| line(&problem.origin));
        return Err(problems);
    }
    // The parser sorts keys by name.
    found.assignments.sort_by_key(|assignment| line(&assignment.origin));
    found.mistaken.sort_by_key(|(_, problem)| line(&problem.origin));
    Ok(found)
}

fn line(origin: &Origin) -> usize {
    match origin {
        Origin::File { line, .. } => *line,
        _ => 0,
    }
}

fn collect(
    prefix: &str,
    table: &DeTable<'_>,
    origin: &dyn Fn(usize) -> Origin,
    found: &mut Contents,
) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let origin_of_key = origin(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => {
                collect(&format!("{key}."), inner, origin, found);
            }
            // [[topics]]: the first one's keys are topics.0.KEY.
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (place, item) in items.iter().enumerate() {
                    let DeValue::Table(inner) = item.get_ref() else {
                        let message = format!("{key}: expected tables only");
                        let problem = Problem { origin: origin_of_key.clone(), message };
                        found.mistaken.push((key.clone(), problem));
                        continue;
                    };
                    collect(&format!("{key}.{place}."), inner, origin, found);
                }
            }
            _ => {
                let values = match value.get_ref() {
                    DeValue::Array(items) => items.iter().map(scalar).collect(),
                    _ => scalar(value).map(|value| vec![value]),
                };
                match values {
                    Ok(values) => {
                        found.assignments.push(Assignment { key, values, origin: origin_of_key });
                    }
                    Err(message) => {
                        let message = format!("{key}: {message}");
                        found.mistaken.push((key, Problem { origin: origin_of_key, message }));
                    }
                }
            }
        }
    }
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    Ok(match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        // 0xFF and its kin are written in decimal.
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| "the number is too large")?
            .to_string(),
        DeValue::Boolean(value) => value.to_string(),
        _ => return Err("expected a string or a whole number"),
    })
}
