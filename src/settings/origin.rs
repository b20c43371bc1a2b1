//! Where values are given, and what is wrong with them.

use std::fmt;

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a profile or a configuration file.
    File {
        /// The file, or the profile's name.
        name: String,
        /// The line of the key, from 1.
        line: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// With this flag, dashes included.
    Flag(String),
}

impl Origin {
    /// Whether both values were given in the same file, both by flag, or both by variable.
    pub fn is_same_source(&self, other: &Origin) -> bool {
        match (self, other) {
            (Origin::File { name: one, .. }, Origin::File { name: other, .. }) => one == other,
            (Origin::Flag(_), Origin::Flag(_)) => true,
            (Origin::Environment(_), Origin::Environment(_)) => true,
            _ => false,
        }
    }

    /// The line of a file; 0 elsewhere.
    pub fn line(&self) -> usize {
        match self {
            Origin::File { line, .. } => *line,
            _ => 0,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => formatter.write_str("default"),
            Origin::File { name, line } => write!(formatter, "{name}:{line}"),
            Origin::Environment(name) | Origin::Flag(name) => formatter.write_str(name),
        }
    }
}

/// A key is given one value, or several.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The key with the tables around it: `limits.head_bytes_max`, and `topics.0.pattern`
    /// in the first of the `[[topics]]`.
    pub key: String,
    /// The values as text, whatever their type in a file.
    pub values: Vec<String>,
    /// Where they were given.
    pub origin: Origin,
}

impl Assignment {
    /// The table's number and the key inside it, where the key belongs to one of the tables
    /// `[[name]]`.
    pub fn in_table(&self, name: &str) -> Option<(usize, &str)> {
        let inner = self.key.strip_prefix(name)?.strip_prefix('.')?;
        let (number, key) = inner.split_once('.')?;
        Some((number.parse().ok()?, key))
    }
}

/// A mistake in a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the value was given that is wrong.
    pub origin: Origin,
    /// The key, the value, what was expected, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.origin, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_tables_are_taken_apart() {
        let assignment = |key: &str| Assignment {
            key: key.to_owned(),
            values: Vec::new(),
            origin: Origin::Default,
        };
        assert_eq!(assignment("topics.12.pattern").in_table("topics"), Some((12, "pattern")));
        assert_eq!(assignment("topics.0.a.b").in_table("topics"), Some((0, "a.b")));
        for other in ["topics", "topics.pattern", "topicss.0.pattern", "limits.0", "pattern"] {
            assert_eq!(assignment(other).in_table("topics"), None, "{other}");
        }
    }
}
