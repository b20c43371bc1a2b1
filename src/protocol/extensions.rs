//! `Sec-WebSocket-Extensions` (RFC 6455, 9.1), strictly and in linear time.
//!
//! ```text
//! extension-list  = #extension
//! extension       = token *( ";" token [ "=" ( token | quoted-string ) ] )
//! ```
//! A quoted value must be a token once its quotes and escapes are removed. Empty elements of the
//! list are ignored, as in every list (RFC 9110, 5.6.1.2).

use std::borrow::Cow;

/// The header breaks the grammar.
///
/// ```
/// use tapecast::protocol::extensions::{Malformed, parse};
///
/// assert!(parse("deflate; level=9").is_ok());
/// assert_eq!(parse("deflate; =9"), Err(Malformed));
/// assert_eq!(parse("deflate; level=\"not a token\""), Err(Malformed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// One parameter of an extension: its name and its value if it has one.
///
/// ```
/// use tapecast::protocol::extensions::{Parameter, parse};
///
/// let mut extensions = parse("deflate; level=\"9\"").unwrap();
/// let (name, value): Parameter<'_> = extensions.remove(0).parameters.remove(0);
/// assert_eq!((name, value.as_deref()), ("level", Some("9")));
/// ```
pub type Parameter<'a> = (&'a str, Option<Cow<'a, str>>);

/// One extension that is offered or accepted.
///
/// ```
/// use tapecast::protocol::extensions::parse;
///
/// let offered = parse("deflate; fast; level=9, deflate").unwrap();
/// assert_eq!(offered.len(), 2);
/// assert_eq!(offered[0].name, "deflate");
/// assert_eq!(offered[0].parameters, [("fast", None), ("level", Some("9".into()))]);
/// assert!(offered[1].parameters.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its registered name.
    pub name: &'a str,
    /// Its parameters in order; the negotiation decides about duplicates.
    pub parameters: Vec<Parameter<'a>>,
}

/// Whether `byte` may stand in a token (RFC 9110, 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `text` is a token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Reads one header value.
///
/// # Errors
/// [`Malformed`] if any of it breaks the grammar.
pub fn parse(value: &str) -> Result<Vec<Extension<'_>>, Malformed> {
    let mut lexer = Lexer { rest: value };
    let mut extensions = Vec::new();
    loop {
        while lexer.take(',') {}
        if lexer.rest.is_empty() {
            return Ok(extensions);
        }
        let mut extension = Extension { name: lexer.token()?, parameters: Vec::new() };
        while lexer.take(';') {
            let name = lexer.token()?;
            let value = if lexer.take('=') { Some(lexer.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        extensions.push(extension);
        if !lexer.rest.is_empty() && !lexer.take(',') {
            return Err(Malformed);
        }
    }
}

/// Every method only moves forward, so each byte is read once.
struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    fn skip_blank(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, separator: char) -> bool {
        self.skip_blank();
        let Some(rest) = self.rest.strip_prefix(separator) else {
            return false;
        };
        self.rest = rest;
        self.skip_blank();
        true
    }

    fn token(&mut self) -> Result<&'a str, Malformed> {
        self.skip_blank();
        let end = self.rest.bytes().position(|byte| !is_token_byte(byte));
        let (token, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        self.skip_blank();
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    fn value(&mut self) -> Result<Cow<'a, str>, Malformed> {
        if !self.rest.starts_with('"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[index + 1..];
                    self.skip_blank();
                    return if is_token(&value) { Ok(Cow::Owned(value)) } else { Err(Malformed) };
                }
                '\\' => value.push(characters.next().ok_or(Malformed)?.1),
                other => value.push(other),
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(extensions: &[Extension<'_>]) -> String {
        let one = |extension: &Extension<'_>| {
            let mut text = extension.name.to_owned();
            for (name, value) in &extension.parameters {
                text += &match value {
                    Some(value) => format!("; {name}={value}"),
                    None => format!("; {name}"),
                };
            }
            text
        };
        extensions.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[track_caller]
    fn check(value: &str, expected: Result<&str, Malformed>) {
        assert_eq!(parse(value).map(|list| write(&list)), expected.map(str::to_owned), "{value}");
    }

    #[test]
    fn headers_are_parsed_or_refused_as_malformed() {
        check("permessage-deflate", Ok("permessage-deflate"));
        check(
            "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            Ok("permessage-deflate; client_max_window_bits; server_max_window_bits=10"),
        );
        check("a;b=\"1\\0\" ,\tc", Ok("a; b=10, c"));
        check("", Ok(""));
        check(" , ,", Ok(""));
        check(",a, ,\tb,", Ok("a, b"));
        for malformed in [
            "a;",
            ";",
            "a;,b",
            "a;=1",
            "a;b=",
            "a b",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"x y\"",
            "a;b=\"\\",
        ] {
            check(malformed, Err(Malformed));
        }
    }

    #[test]
    fn a_long_hostile_value_takes_linear_time() {
        // Steps, not seconds: the lexer never moves backward, so a value of n
        // bytes yields at most n tokens. Quadratic work on this one would not end.
        let value =
            "a;b=\"".to_owned() + &"\\a".repeat(1 << 20) + "\", " + &"x;y,".repeat(1 << 18) + ";";
        assert!(parse(&value).is_err());
        assert!(parse(&",".repeat(1 << 20)).unwrap().is_empty());
    }
}
