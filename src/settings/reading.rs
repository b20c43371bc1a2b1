//! The parts of the setters of keys: one value, several, one of a few words.

use super::{did_you_mean, quoted};

/// Sets a place, unless the value is a mistake.
pub fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

/// The one value of a key that takes no list.
pub fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        _ => Err("expected one value, not a list".into()),
    }
}

/// Each of the values.
pub fn all<T>(
    values: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    values.iter().map(|value| parse(value)).collect()
}

/// The one value, or nothing where it is `none`.
pub fn or_none<T>(
    values: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match one(values)? {
        "none" => Ok(None),
        value => parse(value).map(Some),
    }
}

/// `a`, `a or b`, `a, b or c`.
pub fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

/// The meaning of a word, of a few.
pub fn choice<T: Copy>(value: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let hint = did_you_mean(value, words.iter().copied());
        format!("{value:?}: expected {}{hint}", either(&words))
    })
}

/// The word for a meaning, as TOML; an empty string where there is none.
pub fn word<T: PartialEq>(meaning: &T, known: &[(&'static str, T)]) -> String {
    quoted(known.iter().find(|(_, it)| it == meaning).map_or("", |(word, _)| word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lists_are_read_and_mistakes_are_named() {
        const KNOWN: &[(&str, u8)] = &[("red", 1), ("green", 2), ("blue", 3)];
        assert_eq!(choice("green", KNOWN), Ok(2));
        assert_eq!(word(&2, KNOWN), "\"green\"");
        let error = choice("gren", KNOWN).unwrap_err();
        assert_eq!(error, "\"gren\": expected red, green or blue: did you mean green?");
        let values = ["none".to_owned()];
        assert_eq!(or_none(&values, |text| choice(text, KNOWN)), Ok(None));
        assert_eq!(one(&values), Ok("none"));
        assert!(one(&[]).is_err() && one(&["a".into(), "b".into()]).is_err());
        assert_eq!((either(&[]), either(&["a"])), (String::new(), "a".to_owned()));
    }
}
