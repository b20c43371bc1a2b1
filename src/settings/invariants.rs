//! The promises of every table of keys, in one place for the tests of both programs.

use super::{Key, Numbers, contents};
use std::collections::BTreeSet;

/// Placeholders that name the unit of a number.
const UNITS: &[&str] = &["N", "BYTES", "MS", "US", "PID", "LEVEL", "N|per-core"];

/// Words that the texts of keys do without: each has a plainer one.
const WORDS: &[&str] = &[
    "told",
    "under way",
    "let go",
    "goes on",
    "comes back",
    "again and again",
    "Who ",
    "Whoever",
    "What ",
];

/// The promises that a table breaks: names are unique and made of words, texts are whole
/// sentences in plain English, numbers have a unit, and a value that is printed can be read
/// back and is printed the same, for each of `targets`. None, for a table that is sound.
pub fn faults<T: Clone>(keys: &[Key<T>], targets: &[T]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for key in keys {
        let mut fault = |message: String| faults.push(format!("{}: {message}", key.name));
        if !names.insert(key.name) {
            fault("another key has this name".into());
        }
        if key.name.is_empty() || !key.name.bytes().all(|it| it.is_ascii_lowercase() || it == b'_')
        {
            fault("a name has lower-case letters and _ only".into());
        }
        if key.text.len() < 20 || !key.text.ends_with('.') || key.text.contains("  ") {
            fault(format!("{:?} is no whole sentence", key.text));
        }
        if let Some(word) = WORDS.iter().find(|word| key.text.contains(**word)) {
            fault(format!("{word:?} is in its text"));
        }
        for target in targets {
            let printed = (key.get)(target);
            let is_number = printed.bytes().next().is_some_and(|first| first.is_ascii_digit());
            if is_number && !UNITS.contains(&key.placeholder()) {
                fault(format!("{} names no unit for {printed}", key.placeholder()));
            }
            if let Err(message) = read_back(key, target, &printed) {
                fault(format!("{printed} can't be read back: {message}"));
            }
        }
    }
    faults
}

/// Reads a printed value as a file's, over the target, and prints it again.
fn read_back<T: Clone>(key: &Key<T>, target: &T, printed: &str) -> Result<(), String> {
    if printed.is_empty() {
        return Ok(());
    }
    let line = format!("{} = {printed}", key.name);
    let found = contents("printed", &line, Numbers::Fractional);
    let found = found.map_err(|problems| problems[0].to_string())?;
    let given = found.assignments.first().ok_or("there is no value")?;
    let mut copy = target.clone();
    (key.set)(&mut copy, &given.values)?;
    let again = (key.get)(&copy);
    if again == printed { Ok(()) } else { Err(format!("it becomes {again}")) }
}

#[cfg(test)]
mod tests {
    use super::super::{Takes, Unit, number, one, put};
    use super::*;

    fn key(name: &'static str, text: &'static str) -> Key<u64> {
        Key {
            name,
            takes: Takes::One("N"),
            text,
            set: |target, values| put(target, number(one(values)?, Unit::Count)),
            get: ToString::to_string,
        }
    }

    #[test]
    fn a_sound_table_has_no_faults_and_a_broken_one_has_each() {
        let sound = [key("depth", "Messages that a queue holds.")];
        assert_eq!(faults(&sound, &[0, 7]), Vec::<String>::new());
        let lossy = Key { get: |_| "5".into(), ..key("lossy", "Messages that are not kept.") };
        assert_eq!(faults(&[lossy], &[7]), Vec::<String>::new());
        let broken = Key { get: |_| "\"x\"".into(), ..key("a-b", "Who is told") };
        let found = faults(&[broken], &[7]);
        assert_eq!(found.len(), 4, "{found:?}");
        let unnamed =
            Key { takes: Takes::One("THING"), ..key("b", "Messages that a queue holds.") };
        assert!(faults(&[unnamed], &[7])[0].contains("names no unit"));
        let twice = [key("a", "Messages that a queue holds."), key("a", "Bytes that it holds.")];
        assert_eq!(faults(&twice, &[7]).len(), 1);
    }
}
