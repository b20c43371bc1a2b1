//! A validating scanner of JSON (RFC 8259): finds where values end, and nothing else.
//! What it lets pass is passed on as it was written.
//!
//! It takes text, so UTF-8 is checked already; it never recurses, and refuses what is
//! nested deeper than [`DEPTH_MAX`]. It also refuses what JSON has and some of its readers can't
//! read (RFC 7493, 2.1 and 2.2): half of a surrogate pair, and numbers beyond those of a double.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// Objects and arrays inside of each other, in a value. It may stand in an object or array:
/// what is a body when it is published is one when it is delivered.
pub const DEPTH_MAX: u32 = 64;
const TOO_DEEP: &str = "objects and arrays are nested more than 64 deep";

/// Why a text is not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What was expected, or is wrong.
    pub message: &'static str,
    /// The byte at which it was not.
    pub at: usize,
}

/// A text that is being read.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Before the first byte of `text`.
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// The members of an object that is the whole text, each a name, without its quotes and
    /// escapes, and a value as it stands there.
    ///
    /// # Errors
    /// It is not JSON, or not an object.
    pub fn members(mut self, mut each: impl FnMut(&str, &'a str)) -> Result<(), Malformed> {
        self.white();
        self.expect(b'{', "expected an object")?;
        self.white();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return self.end();
        }
        loop {
            let name = self.string()?;
            self.white();
            self.expect(b':', "expected a colon")?;
            self.white();
            let start = self.at;
            self.value(DEPTH_MAX)?;
            let value = &self.text[start..self.at];
            self.white();
            let behind = self.next();
            if !matches!(behind, Some(b',' | b'}')) {
                return self.fail("expected a comma or the object's end");
            }
            each(&string(name).expect("a string was scanned"), value);
            if behind == Some(b'}') {
                return self.end();
            }
            self.white();
        }
    }

    /// The elements of an array that is the whole text, as they stand there.
    ///
    /// # Errors
    /// It is not JSON, or not an array.
    pub fn elements(mut self, mut each: impl FnMut(&'a str)) -> Result<(), Malformed> {
        self.white();
        self.expect(b'[', "expected an array")?;
        self.white();
        if self.peek() == Some(b']') {
            self.at += 1;
            return self.end();
        }
        loop {
            let start = self.at;
            self.value(DEPTH_MAX)?;
            each(&self.text[start..self.at]);
            self.white();
            match self.next() {
                Some(b',') => self.white(),
                Some(b']') => return self.end(),
                _ => return self.fail("expected a comma or the array's end"),
            }
        }
    }

    /// Checks that the whole text is one value, which can then be a member of an object.
    ///
    /// # Errors
    /// It is not.
    pub fn whole(mut self) -> Result<(), Malformed> {
        self.white();
        self.value(DEPTH_MAX)?;
        self.white();
        self.end()
    }

    fn end(&mut self) -> Result<(), Malformed> {
        self.white();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Malformed { message: "expected nothing more", at: self.at }),
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes on behind the end as well, where there is no way but to fail.
    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    /// The byte before, or that there is none, is not what was expected.
    fn fail<T>(&self, message: &'static str) -> Result<T, Malformed> {
        Err(Malformed { message, at: self.at.saturating_sub(1) })
    }

    fn expect(&mut self, byte: u8, message: &'static str) -> Result<(), Malformed> {
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            _ => Err(Malformed { message, at: self.at }),
        }
    }

    #[inline]
    fn white(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Goes over one value in which objects and arrays are at most `depth_max` deep.
    fn value(&mut self, depth_max: u32) -> Result<(), Malformed> {
        // A bit per level: set in an object.
        let mut levels: u64 = 0;
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(open @ (b'{' | b'[')) => {
                    if depth == depth_max {
                        return Err(Malformed { message: TOO_DEEP, at: self.at });
                    }
                    self.at += 1;
                    self.white();
                    let is_object = open == b'{';
                    let close = if is_object { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        depth += 1;
                        levels = levels << 1 | u64::from(is_object);
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                    self.at += 1;
                }
                _ => return Err(Malformed { message: "expected a value", at: self.at }),
            }
            // A value has ended; with it, it may be, some of those around it.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.white();
                let is_object = levels & 1 == 1;
                match (self.next(), is_object) {
                    (Some(b','), _) => {
                        self.white();
                        if is_object {
                            self.name()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        depth -= 1;
                        levels >>= 1;
                    }
                    _ => return self.fail("expected a comma or an end"),
                }
            }
        }
    }

    /// A member's name, and the colon behind it.
    fn name(&mut self) -> Result<(), Malformed> {
        self.string()?;
        self.white();
        self.expect(b':', "expected a colon")?;
        self.white();
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<(), Malformed> {
        match self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            true => {
                self.at += word.len();
                Ok(())
            }
            false => Err(Malformed { message: "expected a value", at: self.at }),
        }
    }

    /// RFC 8259, 7: any character but quotes, backslashes and controls stands for
    /// itself.
    #[inline]
    fn string(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.expect(b'"', "expected a string")?;
        loop {
            self.plain();
            match self.next() {
                Some(b'"') => return Ok(&self.text[start..self.at]),
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => self.character()?,
                    _ => return self.fail("no such escape"),
                },
                Some(0..0x20) => return self.fail("a control character has to be escaped"),
                Some(_) => {}
                None => return self.fail("a string has no end"),
            }
        }
    }

    /// The digits of an escaped character; of one beyond the basic plane, the second escape
    /// too (RFC 8259, 7).
    fn character(&mut self) -> Result<(), Malformed> {
        match self.code_unit()? {
            0xD800..0xDC00 => {
                let second = match (self.next(), self.next()) {
                    (Some(b'\\'), Some(b'u')) => self.code_unit()?,
                    _ => 0,
                };
                match second {
                    0xDC00..0xE000 => Ok(()),
                    _ => self.fail("half of a surrogate pair"),
                }
            }
            0xDC00..0xE000 => self.fail("half of a surrogate pair"),
            _ => Ok(()),
        }
    }

    fn code_unit(&mut self) -> Result<u32, Malformed> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.next().and_then(|byte| char::from(byte).to_digit(16));
            match digit {
                Some(digit) => unit = unit << 4 | digit,
                None => return self.fail("expected four hexadecimal digits"),
            }
        }
        Ok(unit)
    }

    /// Passes over characters that stand for themselves, eight bytes at a time.
    #[inline]
    fn plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = ONES << 7;
        // A byte that is zero borrows from its own top bit; those beyond ASCII have it.
        let zeros = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes & TOPS;
        while let Some(chunk) = self.text.as_bytes()[self.at..].first_chunk() {
            let bytes = u64::from_le_bytes(*chunk);
            let controls = bytes.wrapping_sub(ONES * 0x20) & !bytes & TOPS;
            let quotes = zeros(bytes ^ (ONES * u64::from(b'"')));
            let escapes = zeros(bytes ^ (ONES * u64::from(b'\\')));
            // Above the first that is found there may be false ones.
            let found = controls | quotes | escapes;
            if found != 0 {
                self.at += found.trailing_zeros() as usize / 8;
                return;
            }
            self.at += 8;
        }
    }

    /// RFC 8259, 6: no leading zeros, digits on both sides of a point.
    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next() {
            Some(b'0') => {}
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.fail("expected a digit"),
        }
        let integer_bytes = self.at - start;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit()?;
        }
        let mut exponent_bytes = 0;
        if let Some(b'e' | b'E') = self.peek() {
            let exponent = self.at;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digit()?;
            exponent_bytes = self.at - exponent;
        }
        // The others are in range by their length: 200 digits, and two of an exponent.
        if (exponent_bytes > "e99".len() || integer_bytes > 200)
            && self.text[start..self.at].parse().is_ok_and(f64::is_infinite)
        {
            return self.fail("a number is beyond the range of a double");
        }
        Ok(())
    }

    /// At least one digit.
    fn digit(&mut self) -> Result<(), Malformed> {
        match self.next() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => self.fail("expected a digit"),
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }
}

/// What a scanned value says as a string; `None` if it is none, or has half of a
/// surrogate pair.
pub fn string(value: &str) -> Option<Cow<'_, str>> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match characters.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let mut unit = || {
                    let digits: String = characters.by_ref().take(4).collect();
                    u16::from_str_radix(&digits, 16).ok()
                };
                let first = unit()?;
                match char::from_u32(first.into()) {
                    Some(character) => character,
                    None => {
                        // RFC 8259, 7: beyond the basic plane, two escapes make one.
                        let mut escape = characters.by_ref().take(2);
                        (escape.next() == Some('\\') && escape.next() == Some('u')).then_some(())?;
                        let digits: String = characters.by_ref().take(4).collect();
                        let second = u16::from_str_radix(&digits, 16).ok()?;
                        char::decode_utf16([first, second]).next()?.ok()?
                    }
                }
            }
            other => other,
        });
    }
    Some(Cow::Owned(out))
}

/// Appends `text` as a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    quoted(text, |piece| out.extend_from_slice(piece.as_bytes()));
}

/// Puts a text as a string, piece by piece.
#[inline]
fn quoted(text: &str, mut put: impl FnMut(&str)) {
    put("\"");
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        put(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => put("\\\""),
            b'\\' => put("\\\\"),
            b'\n' => put("\\n"),
            byte => put(&format!("\\u{byte:04x}")),
        }
        rest = &rest[at + 1..];
    }
    put(rest);
    put("\"");
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight bytes at a time find what one at a time would, wherever it stands.
    #[test]
    fn strings_end_where_they_do() {
        let neighbours = ["a", "!", "#", "[", "]", "\u{7f}", "é", "\u{ff}", "世", "🦀"];
        for before in 0..20 {
            for neighbour in neighbours {
                let filling = neighbour.repeat(before);
                let text = |special: &str| format!("\"{filling}{special}{neighbour}\"");
                assert_eq!(Scanner::new(&text("")).whole(), Ok(()), "{filling}");
                assert_eq!(Scanner::new(&text("\\n")).whole(), Ok(()), "{filling}");
                let at = 1 + filling.len();
                for special in ["\0", "\n", "\u{1f}"] {
                    let message = "a control character has to be escaped";
                    let malformed = Err(Malformed { message, at });
                    assert_eq!(Scanner::new(&text(special)).whole(), malformed, "{filling}");
                }
                let quoted = Scanner::new(&text("\"")).whole().unwrap_err();
                assert_eq!((quoted.message, quoted.at), ("expected nothing more", at + 1));
            }
        }
    }

    /// The corner cases of the JSON test suite (Nicolas Seriot's "Parsing JSON is a
    /// minefield"), by what a parser must do with them.
    #[test]
    fn the_corner_cases() {
        let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let objects = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
        for good in [
            "[]",
            "{}",
            " [ ] ",
            "[1]",
            "[null,true,false]",
            "0",
            "-0",
            "[-0]",
            "1e1",
            "1E+2",
            "1.5e-3",
            "123.456",
            "\"\"",
            "\"\\u0000\"",
            "\"\\uD834\\uDD1E\"",
            "\"\u{7f}\"",
            "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
            "{\"a\":1,\"a\":2}",
            "{\"\":0}",
            "[[]   ]",
            "{\"a\":[{\"b\":[]}]}",
            "\"€𝄞\"",
            "[1\n]",
            "\ttrue\r\n",
            "[\"\u{2028}\"]",
            "1e308",
            "1e-9999",
            "-123123123123123123123123123",
            &"9".repeat(308),
            &deep(64),
            &objects(64),
        ] {
            assert_eq!(Scanner::new(good).whole(), Ok(()), "{good}");
            // What is published can be delivered, and read.
            let delivered = format!("{{\"message\":{good}}}");
            let mut body = None;
            let read = Scanner::new(&delivered).members(|_, value| body = Some(value.trim()));
            assert_eq!((read, body), (Ok(()), Some(good.trim())), "{good}");
        }
        for bad in [
            "",
            " ",
            "[",
            "]",
            "{",
            "[1,]",
            "[,1]",
            "[1 true]",
            "[1,,2]",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":1,}",
            "{\"a\":1 \"b\":2}",
            "{1:1}",
            "01",
            "-",
            "-01",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1.e1",
            "0x1",
            "NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "True",
            "tru",
            "truee",
            "\"",
            "\"\\\"",
            "\"\\a\"",
            "\"\\u12\"",
            "\"\\u12G4\"",
            "\"\\uDFAA\"",
            "\"\\uD834\"",
            "\"\\uD834\\n\"",
            "\"\\uD834\\u0041\"",
            "\"\\uD834\\uD834\"",
            "\"\\uDD1E\\uD834\"",
            "1e309",
            "-1e9999",
            &"9".repeat(400),
            &format!("[{}.5]", "9".repeat(400)),
            "\"\t\"",
            "\"\n\"",
            "\"\0\"",
            "[1]x",
            "{}{}",
            "1 2",
            "\u{feff}{}",
            "[\u{b}1]",
            "/**/1",
            "[1]//",
            "\u{a0}1",
            "{\"a\":1]",
            "[1}",
            "\"a\\",
            "[\"a\",\n4\n,1,",
            &deep(65),
            &objects(65),
            &"[".repeat(100_000),
        ] {
            assert!(Scanner::new(bad).whole().is_err(), "{bad:.40}");
        }
    }

    #[test]
    fn members_and_elements_come_as_they_stand() {
        let mut found = Vec::new();
        let text = " {\"\\u0061\" : [1, {\"b\":\"}\"}] ,\"c\":\"\\\"\" , \"d\":-1.0e5} ";
        let read = Scanner::new(text).members(|name, value| found.push((name.to_owned(), value)));
        assert_eq!(read, Ok(()));
        let expected = [("a", "[1, {\"b\":\"}\"}]"), ("c", "\"\\\"\""), ("d", "-1.0e5")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(found, expected);
        let mut found = Vec::new();
        Scanner::new("[ 1,[2 , 3],\"x\" ]").elements(|value| found.push(value)).unwrap();
        assert_eq!(found, ["1", "[2 , 3]", "\"x\""]);
        assert_eq!(Scanner::new("{}").members(|_, _| panic!("there is none")), Ok(()));
        for bad in ["[]", "{\"a\":1}x", "{\"a\":1", "", "1"] {
            assert!(Scanner::new(bad).members(|_, _| ()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_ends_too_early_fails_at_its_end() {
        let text = r#"{"a":[1,-2.5e+7,{}],"b":{"c":"\n\u00e9"}}"#;
        for end in 0..text.len() {
            let cut = &text[..end];
            for failed in [Scanner::new(cut).whole(), Scanner::new(cut).members(|_, _| ())] {
                assert_eq!(failed.map_err(|error| error.at), Err(end), "{cut}");
            }
        }
    }

    #[test]
    fn strings_there_and_back() {
        for (value, text) in [
            ("\"\"", Some("")),
            ("\"a€\"", Some("a€")),
            (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r#""\u20ac\uD834\udd1e""#, Some("€𝄞")),
            (r#""\uD834""#, None),
            (r#""\uD834\u0041""#, None),
            (r#""\uDD1E\uD834""#, None),
            ("12", None),
        ] {
            assert_eq!(string(value).as_deref(), text, "{value}");
        }
        for text in ["", "plain", "\"quoted\"\\", "\n\t\u{1}\u{1f}\u{7f}", "€𝄞\0"] {
            let mut out = Vec::new();
            write_string(text, &mut out);
            let written = std::str::from_utf8(&out).unwrap();
            assert_eq!(Scanner::new(written).whole(), Ok(()));
            assert_eq!(string(written).as_deref(), Some(text));
        }
    }
}
