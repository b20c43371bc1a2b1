//! Messages of applications: text or bytes.

use super::frame::Opcode;

/// One whole message, borrowed from where it was received.
///
/// ```
/// use tapecast::Message;
///
/// let (text, binary) = (Message::from("hi"), Message::from(b"hi"));
/// assert_eq!(text, Message::Text("hi"));
/// assert_ne!(text, binary);
/// assert_eq!(text.payload(), binary.payload());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Valid UTF-8.
    Text(&'a str),
    /// Any bytes.
    Binary(&'a [u8]),
}

/// Whether a message is text or binary, apart from its payload.
///
/// ```
/// use tapecast::protocol::{Kind, Message};
///
/// assert_eq!(Kind::Text.message(b"hi"), Some(Message::Text("hi")));
/// assert_eq!(Kind::Text.message(b"\xFF"), None);
/// assert_eq!(Kind::Binary.message(b"\xFF"), Some(Message::Binary(b"\xFF")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The opcode of this kind's first frame.
    pub const fn opcode(self) -> Opcode {
        match self {
            Kind::Text => Opcode::Text,
            Kind::Binary => Opcode::Binary,
        }
    }

    /// The message of this kind with this payload; `None` for text that is not
    /// UTF-8.
    pub fn message(self, payload: &[u8]) -> Option<Message<'_>> {
        match self {
            Kind::Text => simdutf8::basic::from_utf8(payload).ok().map(Message::Text),
            Kind::Binary => Some(Message::Binary(payload)),
        }
    }
}

impl<'a> Message<'a> {
    /// The payload's bytes.
    pub const fn payload(&self) -> &'a [u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Whether it is text that is one JSON value (RFC 8259).
    pub fn is_json(&self) -> bool {
        matches!(self, Message::Text(text) if super::json::Scanner::new(text).whole().is_ok())
    }

    /// Text or binary.
    pub const fn kind(&self) -> Kind {
        match self {
            Message::Text(_) => Kind::Text,
            Message::Binary(_) => Kind::Binary,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a String> for Message<'a> {
    fn from(text: &'a String) -> Self {
        Message::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Message<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Message::Binary(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Message<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Message::Binary(bytes)
    }
}
