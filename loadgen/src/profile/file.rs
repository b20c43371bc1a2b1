//! Profiles: TOML, with the line of every key.

use super::{Assignment, Origin};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The table of a group.
const GROUP: &str = "group";

/// The assignments of a profile, those of the run and of all groups first. `name` is
/// how it is called in messages.
///
/// # Errors
/// It is not TOML, or a value is of a kind that no key takes.
pub fn assignments(name: &str, text: &str) -> Result<Vec<Assignment>, String> {
    let origin = |offset: usize| Origin::File {
        name: name.to_owned(),
        line: text[..offset.min(text.len())].matches('\n').count() + 1,
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        format!("{}: {}", origin(offset), error.message())
    })?;
    let mut found = Vec::new();
    collect(table.get_ref(), None, &origin, &mut found)?;
    let groups = table.get_ref().iter().find(|(key, _)| key.get_ref() == GROUP);
    if let Some((key, groups)) = groups {
        let expected = || format!("{}: expected [[{GROUP}]]", origin(key.span().start));
        let groups = groups.get_ref().as_array().ok_or_else(expected)?;
        for (index, group) in groups.iter().enumerate() {
            let group = group.get_ref().as_table().ok_or_else(expected)?;
            collect(group, Some(index), &origin, &mut found)?;
        }
    }
    Ok(found)
}

fn collect(
    table: &DeTable<'_>,
    group: Option<usize>,
    origin: &dyn Fn(usize) -> Origin,
    found: &mut Vec<Assignment>,
) -> Result<(), String> {
    let start = found.len();
    for (key, value) in table {
        if group.is_none() && key.get_ref() == GROUP {
            continue;
        }
        let origin = origin(key.span().start);
        let values = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(scalar).collect(),
            _ => scalar(value).map(|value| vec![value]),
        };
        let values = values.map_err(|message| format!("{origin}: {}: {message}", key.get_ref()))?;
        found.push(Assignment { key: key.get_ref().to_string(), values, origin, group });
    }
    // The parser sorts keys by name.
    found[start..].sort_by_key(|assignment| match assignment.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    Ok(())
}

fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    Ok(match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        _ => return Err("expected a string, a number, true or false"),
    })
}
