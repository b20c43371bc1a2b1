//! A JSON object that is written member by member.

use super::string::quoted;
use std::fmt::{Display, Write};

/// Bytes that most objects have room in.
const OBJECT_BYTES: usize = 160;

/// An object that is being written, member by member.
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
    /// With its `type`, which needs no escapes.
    pub fn new(kind: &str) -> Object {
        let mut out = String::with_capacity(OBJECT_BYTES);
        out.push_str(r#"{"type":""#);
        out.push_str(kind);
        out.push('"');
        Object(out)
    }

    /// A member's name, which needs no escapes.
    fn name(&mut self, name: &str) {
        self.0.push_str(r#",""#);
        self.0.push_str(name);
        self.0.push_str(r#"":"#);
    }

    /// A member that is text.
    #[must_use]
    pub fn text(mut self, name: &str, value: &str) -> Object {
        self.name(name);
        quoted(value, |piece| self.0.push_str(piece));
        self
    }

    /// A member whose value is displayed as JSON: a number, or a truth.
    #[must_use]
    pub fn json(mut self, name: &str, value: impl Display) -> Object {
        self.name(name);
        write!(self.0, "{value}").expect("memory takes it");
        self
    }

    /// A member that is JSON already.
    #[must_use]
    pub fn raw(mut self, name: &str, value: &str) -> Object {
        self.name(name);
        self.0.push_str(value);
        self
    }

    /// What there is so far, without an end, for whoever adds to it.
    pub fn open(self) -> Vec<u8> {
        self.0.into_bytes()
    }

    /// The whole of it.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
