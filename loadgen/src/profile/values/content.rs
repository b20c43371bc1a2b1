//! The bytes that messages are filled with.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::sync::Arc;

/// The bytes that messages are filled with.
#[derive(Clone, Debug)]
pub enum Content {
    /// A number, then the same bytes in every message.
    Pattern,
    /// Different bytes in every message.
    Random,
    /// The lines of a file in turn.
    Lines { path: String, lines: Arc<[Box<[u8]>]> },
}

impl FromStr for Content {
    type Err = String;

    fn from_str(text: &str) -> Result<Content, String> {
        match text {
            "pattern" => Ok(Content::Pattern),
            "random" => Ok(Content::Random),
            _ => {
                let path = text.strip_prefix('@').ok_or_else(|| {
                    format!("{text:?}: expected pattern, random, or @FILE for its lines")
                })?;
                let read = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
                // Some editors put a byte order mark in front.
                let text = read.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&read);
                let lines: Arc<[Box<[u8]>]> = text
                    .split(|&byte| byte == b'\n')
                    .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                    .filter(|line| !line.is_empty())
                    .map(Box::from)
                    .collect();
                if lines.is_empty() {
                    return Err(format!("{path}: the file has no lines"));
                }
                Ok(Content::Lines { path: path.to_owned(), lines })
            }
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Pattern => formatter.write_str("pattern"),
            Content::Random => formatter.write_str("random"),
            Content::Lines { path, .. } => write!(formatter, "@{path}"),
        }
    }
}
