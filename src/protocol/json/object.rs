//! A JSON object that is written member by member.

use super::string::quoted;
use std::fmt::{Display, Write};

/// The initial capacity, enough for most objects.
const OBJECT_BYTES: usize = 160;

/// A JSON object that is written member by member.
///
/// ```
/// use tapecast::protocol::json::Object;
///
/// let answer = Object::new("pong").text("channel", "a\"b\n").json("seq", 7).raw("id", "[1]");
/// let text = r#"{"type":"pong","channel":"a\"b\n","seq":7,"id":[1]}"#;
/// assert_eq!(answer.end(), text);
/// ```
#[derive(Debug)]
pub struct Object(String);

impl Object {
    /// An object with its `type`, which needs no escapes.
    pub fn new(kind: &str) -> Object {
        let mut out = String::with_capacity(OBJECT_BYTES);
        out.push_str(r#"{"type":""#);
        out.push_str(kind);
        out.push('"');
        Object(out)
    }

    /// Writes a member's name, which needs no escapes.
    fn name(&mut self, name: &str) {
        self.0.push_str(r#",""#);
        self.0.push_str(name);
        self.0.push_str(r#"":"#);
    }

    /// Adds a member that is text.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Object {
        self.name(name);
        quoted(value, |piece| self.0.push_str(piece));
        self
    }

    /// Adds a member whose value displays as JSON: a number or a Boolean.
    #[must_use]
    pub fn json(mut self, name: &str, value: impl Display) -> Object {
        self.name(name);
        write!(self.0, "{value}").expect("memory takes it");
        self
    }

    /// Adds a member that is JSON already.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Object {
        self.name(name);
        self.0.push_str(value);
        self
    }

    /// The object so far, without its end, for callers that add members themselves.
    pub fn open(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// Ends the object.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
