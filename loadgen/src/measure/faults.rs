//! Faults by kind, with the first example of each kind. The number of kinds is bounded, so
//! that a hostile server can't fill the memory.

use std::collections::BTreeMap;

/// Kinds of faults that are counted apart; all further kinds count as "others".
const KINDS_MAX: usize = 64;
/// Characters of an example that are kept.
const EXAMPLE_CHARS_MAX: usize = 200;

/// Faults by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<String, Fault>);

/// One kind of fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub count: u64,
    /// The first of its kind: which connection, when, and the details.
    pub example: String,
}

impl Faults {
    /// Counts one fault. `example` is called for the first of its kind only.
    pub fn add(&mut self, kind: &str, example: impl FnOnce() -> String) {
        if let Some(fault) = self.0.get_mut(kind) {
            fault.count += 1;
            return;
        }
        let kind = if self.0.len() < KINDS_MAX { kind } else { "others" };
        let fault = self.0.entry(kind.to_owned()).or_default();
        fault.count += 1;
        if fault.example.is_empty() {
            fault.example = example().chars().take(EXAMPLE_CHARS_MAX).collect();
        }
    }

    /// Adds the faults of `other`.
    pub fn merge(&mut self, other: &Faults) {
        for (kind, fault) in &other.0 {
            self.insert(kind, fault.clone());
        }
    }

    /// Adds `fault` to its kind.
    pub fn insert(&mut self, kind: &str, fault: Fault) {
        let mine = self.0.entry(kind.to_owned()).or_default();
        mine.count += fault.count;
        if mine.example.is_empty() {
            mine.example = fault.example;
        }
    }

    /// All kinds, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Fault)> {
        self.0.iter().map(|(kind, fault)| (kind.as_str(), fault))
    }

    /// The number of faults of all kinds.
    pub fn total(&self) -> u64 {
        self.0.values().map(|fault| fault.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_faults_are_bounded_and_keep_their_first_example() {
        let mut faults = Faults::default();
        for number in 0..1_000 {
            faults.add(&format!("kind {}", number % 100), || format!("example {number}"));
        }
        assert_eq!(faults.total(), 1_000);
        assert!(faults.iter().count() <= KINDS_MAX + 1);
        assert_eq!(
            faults.iter().find(|(kind, _)| *kind == "kind 5").unwrap().1.example,
            "example 5"
        );
    }
}
