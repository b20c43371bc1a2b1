//! Configuration files and profiles: TOML, with the line of every key.

use super::{Assignment, Origin, Problem};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The assignments of a file. `name` is how it is called in messages.
///
/// # Errors
/// It is not TOML, or a value is of a kind that no key takes.
pub fn assignments(name: &str, text: &str) -> Result<Vec<Assignment>, Problem> {
    let origin = |offset: usize| Origin::File {
        name: name.to_owned(),
        line: text[..offset.min(text.len())].matches('\n').count() + 1,
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Problem { origin: origin(offset), message: error.message().to_owned() }
    })?;
    let mut found = Vec::new();
    collect("", table.get_ref(), &origin, &mut found)?;
    // The parser sorts keys by name.
    found.sort_by_key(|assignment| match assignment.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    Ok(found)
}

fn collect(
    prefix: &str,
    table: &DeTable<'_>,
    origin: &dyn Fn(usize) -> Origin,
    found: &mut Vec<Assignment>,
) -> Result<(), Problem> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let origin_of_key = origin(name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => collect(&format!("{key}."), inner, origin, found)?,
            // [[topics]]: the first one's keys are topics.0.KEY.
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (place, item) in items.iter().enumerate() {
                    let DeValue::Table(inner) = item.get_ref() else {
                        let message = format!("{key}: expected tables only");
                        return Err(Problem { origin: origin_of_key, message });
                    };
                    collect(&format!("{key}.{place}."), inner, origin, found)?;
                }
            }
            DeValue::Array(items) => {
                let values: Result<_, _> = items.iter().map(scalar).collect();
                let values = values.map_err(|message| Problem {
                    origin: origin_of_key.clone(),
                    message: format!("{key}: {message}"),
                })?;
                found.push(Assignment { key, values, origin: origin_of_key });
            }
            _ => {
                let values = scalar(value).map(|value| vec![value]).map_err(|message| Problem {
                    origin: origin_of_key.clone(),
                    message: format!("{key}: {message}"),
                })?;
                found.push(Assignment { key, values, origin: origin_of_key });
            }
        }
    }
    Ok(())
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    Ok(match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        _ => return Err("expected a string or a whole number"),
    })
}
